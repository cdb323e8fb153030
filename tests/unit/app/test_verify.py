"""``cortex verify`` finds what is damaged in a run, and names it."""

import shutil

import pytest

from cortex.app.verify import verify
from cortex.core.errors import InputError
from cortex.data.settings import PerClass
from cortex.data.shard_reader import read_shard
from cortex.data.shard_writer import write_shard
from cortex.studies.planted.plant import plant
from cortex.studies.planted.settings import PlantedGrids


@pytest.fixture
def results(tiny_run, tmp_path):
    return shutil.copytree(tiny_run / "results" / "tiny", tmp_path / "tiny")


def test_a_finished_run_is_whole(results, capsys):
    verify(results)
    assert "files are whole" in capsys.readouterr().out


def cut(path):
    path.write_bytes(path.read_bytes()[:-700])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_a_sample(path):
    write_shard(path, list(read_shard(path, images=True))[:-1])


def lose(path):
    path.unlink()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("data/train/000001.tar", cut),
        ("data/train/000000.tar", flip_a_bit),
        ("data/test/000000.tar", remove_a_sample),
        ("data/validation/000000.tar", lose),
        ("importance/tis/cnn/0/test/000000.parquet", cut),
        ("importance/tis/resnet/0/train/000001.parquet", flip_a_bit),
        ("data/train/grids.npy", cut),
        ("data/test/images/000000.npy", cut),
        ("extractors/cnn/0/model.safetensors", cut),
    ],
)
def test_each_damage_is_found_and_named(results, capsys, name, damage):
    damage(results / name)
    with pytest.raises(InputError, match=r"1 of .* files are damaged or lost"):
        verify(results)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Not looked at: ")] == lines[1:]
    assert lines[0].startswith(f"{results / name}: ")


def counted(results, capsys):
    """The lines but the last one's name of the folder."""
    verify(results)
    return capsys.readouterr().out.replace(f"{results}: ", "")


def test_linked_folders_are_entered(results, tmp_path, capsys):
    """Large folders move to another disk and leave a link."""
    before = counted(results, capsys)
    assert "Not looked at: " in before and ".html" in before
    for name in ("importance", "data/train", "extractors/cnn"):
        shutil.move(results / name, tmp_path / name.replace("/", "-"))
        (results / name).symlink_to(tmp_path / name.replace("/", "-"))
    (results / "importance" / "loop").symlink_to(results)
    assert counted(results, capsys) == before
    tables = list((tmp_path / "importance").rglob("*.parquet"))
    for table in tables:
        table.write_bytes(table.read_bytes()[:20])
    with pytest.raises(InputError, match=rf"{len(tables)} of .* files are damaged or lost"):
        verify(results)
    assert capsys.readouterr().out.count("not a whole Parquet file") == len(tables) > 1


@pytest.mark.parametrize("name", ["importance", "tokens/tis/cnn/0.parquet", "report.html"])
def test_a_link_to_what_is_gone_is_named(results, tmp_path, capsys, name):
    shutil.move(results / name, tmp_path / "gone")
    (results / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"1 of .* files are damaged or lost"):
        verify(results)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"{results / name}: a link to {tmp_path / 'elsewhere'}, which is not there"
    assert len(others) == 1 and others[0].startswith("Not looked at: ")


def test_what_a_job_wrote_and_is_gone_is_listed(results, capsys):
    before = counted(results, capsys).splitlines()
    gone = [results / "codes.parquet", results / "figures" / "samples.png"]
    for path in gone:
        path.unlink()
    lines = counted(results, capsys).splitlines()
    told = "a job wrote it, but it is not there; if the run still needs it, snakemake makes it again"
    assert lines[:2] == [f"{path}: {told}" for path in gone]
    assert len(lines) == len(before) + 2


def test_files_of_shards_of_an_earlier_run_are_named_and_not_checked(results, capsys):
    before = counted(results, capsys)
    strays = [
        "data/test/000007.parquet",
        "data/test/000007.tar",
        "data/test/images/000007.npy",
        "data/train/more.tar",
        "evaluation/image_level/tis/cnn/0/vit/000007.parquet",
        "importance/tis/cnn/0/test/000007.parquet",
    ]
    for name in strays:
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_bytes(b"cut")
    lines = counted(results, capsys).splitlines(keepends=True)
    assert [line.partition(": ")[0] for line in lines[:6]] == [str(results / name) for name in strays]
    assert all(": not of this run: the manifest lists no such shard" in line for line in lines[:6])
    assert "".join(lines[6:]) == before


@pytest.mark.parametrize("name", ["validation.tar", "train.npy", "truth.parquet", "codebook.safetensors"])
def test_damage_of_what_was_planted_is_found(results, capsys, name):
    folder = results / "studies" / "planted" / "plain"
    images = PerClass(train=40, validation=20, test=2)
    settings = PlantedGrids(classes=2, codes=24, codes_per_class=2, positions=4, per_class=images)
    plant(folder, variant="plain", settings=settings, height=4, width=4, channels=40)
    verify(results)
    cut(folder / name)
    with pytest.raises(InputError, match=r"1 of .* files are damaged or lost"):
        verify(results)
    assert f"{folder / name}: " in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="no such manifest"):
        verify(tmp_path)
