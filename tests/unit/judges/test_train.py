"""Judges learn labelled pictures of any kind; an interrupted training goes on to the same weights."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.core.weights import read_weights
from cortex.data.digits import digit_images
from cortex.judges import judge_settings
from cortex.judges.judge import load_judge, read_judge
from cortex.judges.pretrained import pretrained_judge
from cortex.judges.settings import SavedJudge
from cortex.judges.train import train_judge
from tests.pictures import COLOURS, labelled, picture, png, samples, write_folders, write_table, write_tar

CPU = torch.device("cpu")
SHAPES = {"resnet": {"width": 4}, "vit": {"width": 8, "layers": 1, "heads": 2}}
NAMES = list(COLOURS)
# The command, whose process is sent SIGTERM when it looks at its n-th pictures.
INTERRUPTED = """
import os, signal, sys
from cortex.app.cli import main
from cortex.judges import train

pictures_at, calls = train.pictures_at, 0

def counted(*arguments):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGTERM)
    return pictures_at(*arguments)

train.pictures_at = counted
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Class folders of 66 pictures in three colours: a tenth of each is held out, and 60 are left."""
    return write_folders(tmp_path_factory.mktemp("pictures") / "all", labelled([0, 1, 2] * 22))


def arguments_of(folder, images, network="resnet", **changes):
    """Those of the command, for a training of three epochs of six steps."""
    options = {"images": images, "size": 16, "epochs": 3, "batch": 10, "learning_rate": 0.01, "device": "cpu"}
    options |= {"network": network, "output": folder / "judge.safetensors", "history": folder / "history.parquet"}
    options |= SHAPES[network] | changes
    return ["train-judge", *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())]


def trained(folder, images, *more, **changes):
    assert main([*arguments_of(folder, images, **changes), *more]) == 0
    return folder / "judge.safetensors", read_table(folder / "history.parquet")


@pytest.mark.slow
def test_a_judge_reads_digits(tmp_path):
    path, history = trained(tmp_path, "digits", size=32, augmentation="jitter", epochs=1, batch=64)
    images, labels = digit_images("held_out")
    judge = load_judge(path, CPU)
    top1 = (judge.logits(torch.from_numpy(images)).argmax(1).numpy() == labels).mean()
    assert history["held_out_top1"].to_pylist() == [pytest.approx(top1)] == [judge.held_out_top1]
    assert top1 > 0.2, "twice chance"
    assert judge.class_names[:3] == ("zero", "one", "two")


@pytest.mark.parametrize("network", ["resnet", "vit"])
def test_a_judge_learns_colours_from_class_folders(tmp_path, folders, network):
    path, history = trained(tmp_path, folders, network=network, augmentation="flips_and_turns", epochs=10)
    judge = load_judge(path, CPU)
    assert judge.class_names == tuple(NAMES)
    assert history["epoch"].to_pylist() == list(range(1, 11))
    assert history["held_out_top1"].to_pylist()[-1] == judge.held_out_top1 == 1.0
    large = torch.from_numpy(np.stack([picture(name, 30, (40, 50)) for name in NAMES]))
    assert judge.logits(large).argmax(1).tolist() == [0, 1, 2], "of another size, too"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["history.parquet", "judge.safetensors"]


def test_every_kind_of_source_trains_the_same_judge(tmp_path, folders):
    by_class = sorted(labelled([0, 1, 2] * 22), key=lambda pair: pair[0])
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    sources = {
        "folders": (folders, {}),
        "tar": (write_tar(tmp_path / "all.tar", samples(by_class)), {}),
        "table": (
            write_table(tmp_path / "all.parquet", [png(i) for _, i in by_class], [NAMES.index(n) for n, _ in by_class]),
            {"class_names": tmp_path / "names.txt"},
        ),
    }
    content = {}
    for kind, (source, more) in sources.items():
        (tmp_path / kind).mkdir()
        content[kind] = trained(tmp_path / kind, source, epochs=1, **more)[0].read_bytes()
    assert content["folders"] == content["tar"] == content["table"]


@pytest.mark.slow
def test_label_smoothing_keeps_the_judge_from_certainty(tmp_path, folders):
    most = {}
    for share in (0.0, 0.3):
        (tmp_path / str(share)).mkdir()
        path, _ = trained(tmp_path / str(share), folders, epochs=15, label_smoothing=share)
        shown = torch.from_numpy(np.stack([picture(name, 5, (16, 16)) for name in NAMES]))
        most[share] = load_judge(path, CPU).logits(shown).softmax(1).amax(1).mean().item()
    assert most[0.3] == pytest.approx(1 - 0.3 * 2 / 3, abs=0.05), "the smoothed target"
    assert most[0.0] > 0.95


def test_half_precision_is_half_as_large_and_reads_the_same(tmp_path, folders):
    for folder in ("half", "full"):
        (tmp_path / folder).mkdir()
    path, _ = trained(tmp_path / "full", folders, width=32)
    half, _ = trained(tmp_path / "half", folders, "--half=True", width=32)
    assert half.stat().st_size < 0.55 * path.stat().st_size
    kinds = {weight.dtype for weight in read_weights(half)[0].values()}
    assert kinds == {torch.float16, torch.int64}, "but for the counters of batches"
    network, _ = read_judge(half)
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    images = torch.randint(256, (20, 16, 16, 3), dtype=torch.uint8)
    ours, theirs = (load_judge(each, CPU).logits(images) for each in (path, half))
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)


# --- classes of a generator ---------------------------------------------------------------------------------------


def test_the_classes_of_a_generator_order_the_logits(tmp_path, folders):
    path, _ = trained(tmp_path, folders, "--classes", "red", "yellow", "blue", "green", "--needed", "0", "2", epochs=10)
    judge = load_judge(path, CPU)
    assert judge.class_names == ("red", "", "blue", "green")
    shown = torch.from_numpy(np.stack([picture(name, 30, (16, 16)) for name in ("red", "blue", "green")]))
    assert judge.logits(shown).argmax(1).tolist() == [0, 2, 3]


def test_a_class_without_pictures_is_told_before_they_are_read(tmp_path, folders, capsys, monkeypatch):
    monkeypatch.setattr("cortex.judges.train.read_split", None)
    assert main([*arguments_of(tmp_path, folders), "--classes", "red", "Blue", "green"]) == 1
    told = "classes of the generator that it does not know: 'Blue'; its classes that the generator does not have: "
    assert f"cortex train-judge: error: {folders}: {told}'blue'; classes are" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_one_class_are_refused(tmp_path):
    source = write_folders(tmp_path / "all", labelled([1] * 20))
    settings = judge_settings("resnet")(network="resnet", images=str(source), size=8, epochs=1)
    with pytest.raises(InputError, match=r"all: pictures of one class; a judge tells at least two apart"):
        train_judge(tmp_path / "judge", tmp_path / "history", settings=settings, device="cpu")


def test_a_saved_judge_serves_a_run_of_other_classes(tmp_path, folders):
    """A run takes the file, in the order of its generator."""
    path, _ = trained(tmp_path, folders, "--half=True", epochs=10)
    settings = SavedJudge(network="saved", weights=str(path))
    assert settings.known_classes() == tuple(NAMES)
    pretrained_judge(tmp_path / "again.safetensors", settings=settings, classes=("red", "blue"))
    own, again = load_judge(path, CPU), load_judge(tmp_path / "again.safetensors", CPU)
    assert (again.class_names, again.held_out_top1) == (("red", "blue", "green"), own.held_out_top1)
    images = torch.randint(256, (9, 16, 16, 3), dtype=torch.uint8)
    assert torch.equal(again.logits(images), own.logits(images)[:, [2, 0, 1]])
    with pytest.raises(InputError, match=r"^judge saved: classes .* does not know: 'violet'; .* does not have: 'blue'"):
        pretrained_judge(tmp_path / "none.safetensors", settings=settings, classes=("red", "violet", "green"))
    assert not (tmp_path / "none.safetensors").exists()


def test_the_classes_of_a_saved_judge_may_have_other_names(tmp_path, folders):
    path, _ = trained(tmp_path, folders, epochs=1)
    (tmp_path / "names.txt").write_text("azure\nlime\ncrimson")
    settings = SavedJudge(network="saved", weights=str(path), class_names=str(tmp_path / "names.txt"))
    pretrained_judge(tmp_path / "again.safetensors", settings=settings, classes=("crimson", "azure"))
    own, again = load_judge(path, CPU), load_judge(tmp_path / "again.safetensors", CPU)
    assert (own.class_names, again.class_names) == (("blue", "green", "red"), ("crimson", "azure", "lime"))
    images = torch.randint(256, (9, 16, 16, 3), dtype=torch.uint8)
    assert torch.equal(again.logits(images), own.logits(images)[:, [2, 0, 1]])
    (tmp_path / "names.txt").write_text("azure\nlime")
    with pytest.raises(InputError, match=r"names\.txt: 2 names; the judge knows 3 classes$"):
        pretrained_judge(tmp_path / "again.safetensors", settings=settings)


@pytest.mark.parametrize("network", ["landuse_vit", "landuse_resnet"])
def test_judges_of_land_use_come_with_the_package_or_of_a_file(tmp_path, folders, network):
    bundled = judge_settings(network)(network=network).file()
    assert bundled.parts[-4:] == ("cortex", "judges", "bundled", f"{network}.safetensors")
    path, _ = trained(tmp_path, folders, epochs=1)
    output = tmp_path / "again.safetensors"
    assert main(["pretrained-judge", f"--network={network}", f"--weights={path}", f"--output={output}"]) == 0
    assert load_judge(output, CPU).class_names == tuple(NAMES)


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path, capsys):
    gone = tmp_path / "gone.safetensors"
    assert main(["pretrained-judge", "--network=saved", f"--weights={gone}", f"--output={tmp_path / 'out'}"]) == 1
    assert capsys.readouterr().err == f"cortex pretrained-judge: error: {gone}: no such weights file\n"


# --- interruptions ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "call", "epoch", "step"),
    [
        ("resnet", 1, 1, 1),
        ("resnet", 7 + 3, 2, 3),
        ("vit", 7 + 6, 2, 6),
        ("vit", 7 + 7, 2, 6),  # while the accuracy of the epoch is measured
        ("resnet", 3 * 7, 3, 6),
    ],
)
def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, folders, network, call, epoch, step):
    for name in ("undisturbed", "interrupted"):
        (tmp_path / name).mkdir()
    changes = {"network": network, "augmentation": "flips_and_turns", "label_smoothing": 0.1}
    path, history = trained(tmp_path / "undisturbed", folders, **changes)
    folder = tmp_path / "interrupted"
    command = [sys.executable, "-c", INTERRUPTED.format(call=call), *arguments_of(folder, folders, **changes)]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stopped.returncode == 143, stopped.stderr
    said = f"cortex train-judge: stopped: judge {network}, in epoch {epoch}, after {step} of its 6 steps; the same "
    assert stopped.stderr.splitlines()[-1] == f"{said}command goes on from there, by {folder / 'judge.state'}"
    assert [each.name for each in folder.iterdir()] == ["judge.state"], "no pictures stay behind"
    again, more = trained(folder, folders, **changes)
    assert again.read_bytes() == path.read_bytes()
    assert more.drop(["seconds"]).to_pylist() == history.drop(["seconds"]).to_pylist()
    assert not (folder / "judge.state").exists()


@pytest.fixture(scope="module")
def state(tmp_path_factory, folders):
    """The state of a training that was stopped."""
    folder = tmp_path_factory.mktemp("stopped")
    command = [sys.executable, "-c", INTERRUPTED.format(call=3), *arguments_of(folder, folders)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 143
    return folder / "judge.state"


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 0.02}, {"augmentation": "none"}, {"width": 8}, None])
def test_a_state_of_another_training_or_of_other_pictures_is_not_gone_on_from(tmp_path, folders, state, change, caplog):
    for name in ("undisturbed", "interrupted"):
        (tmp_path / name).mkdir()
    folder = tmp_path / "interrupted"
    shutil.copy(state, folder)
    source, changes = folders, change or {}
    if change is None:
        source = write_folders(tmp_path / "others", [*labelled([0, 1, 2] * 22), ("red", picture("red", 70))])
    path, _ = trained(tmp_path / "undisturbed", source, **changes)
    caplog.set_level("INFO")
    again, _ = trained(folder, source, **changes)
    assert "this one starts anew" in caplog.text
    assert again.read_bytes() == path.read_bytes()


def test_the_same_command_gives_the_same_file(tmp_path, folders):
    content = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        content.append(trained(tmp_path / name, folders, epochs=1)[0].read_bytes())
    assert content[0] == content[1]
    entry = json.loads(read_weights(tmp_path / "one" / "judge.safetensors")[1]["judge"])
    assert entry["arguments"] == {"classes": 3, "size": 16, "width": 4}
