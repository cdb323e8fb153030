"""The study of scales: sets of tokens by hand, decoded one by one, and what the page says of known numbers."""

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.tokens import Tokens, write_tokens
from cortex.generators.convert import convert_generator
from cortex.generators.load import load_generator
from cortex.generators.var import files
from cortex.judges.judge import load_judge
from cortex.judges.networks import ResNet
from cortex.studies.scales.ablate import ablate_scales
from cortex.studies.scales.page import section
from tests.published import CODES, TINY_SIDES, tiny_var

SIDES = TINY_SIDES[4]
POSITIONS = sum(side**2 for side in SIDES)
SCALES = np.repeat(np.arange(10), np.square(SIDES))
N = [5, 12]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a tiny VAR, a judge and an importance file of four images, and the rows of the study."""
    folder, rng = tmp_path_factory.mktemp("scales"), np.random.default_rng(0)
    tokenizer, prior = tiny_var(4)
    torch.save(tokenizer, folder / "vae_t.pth")
    torch.save(prior, folder / "var_d3.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(files.SIDES, POSITIONS, SIDES)
        convert_generator(folder / "weights.safetensors", family="var", folder=folder)
    torch.manual_seed(0)
    write_weights(folder / "judge.safetensors", ResNet().state_dict(), {"judge": "resnet"})
    tokens = (rng.integers(0, CODES, (4, POSITIONS)) + CODES * SCALES).astype(np.uint16)
    scores = {"importance": rng.normal(size=(4, POSITIONS)).astype(np.float32)}
    images = Tokens(list("abcd"), np.array([1, 4, 1, 4]), tokens, (1, POSITIONS), scores, scales=SIDES)
    write_tokens(folder / "importance.parquet", images)
    ablate(folder, folder / "rows.parquet")
    return folder, images


def ablate(folder, output, **changes):
    options = {"images_per_class": 1, "n": N, "batch": 3, "family": "var", "device": "cpu"}
    options |= {"judges": [f"resnet={folder / 'judge.safetensors'}"], "generator": folder / "weights.safetensors"}
    ablate_scales(output, [folder / "importance.parquet"], **options | changes)


def change(folder, images, row, removed):
    """Change of the label's probability of one image without some positions, decoded alone."""
    model, judge = (
        load_generator(folder / "weights.safetensors", family="var"),
        load_judge(folder / "judge.safetensors"),
    )
    vectors = model.codebook[images.tokens[row].astype(int)]
    without = vectors.clone()
    without[removed] = model.codebook.mean(0)
    pictures = model.decode_vectors(torch.stack([vectors, without]))
    assert torch.equal(pictures[0], model.decode(torch.from_numpy(images.grids[row : row + 1]))[0])
    before, after = judge.logits(pictures).softmax(1)[:, images.labels[row]].tolist()
    return after - before


def test_changes_are_those_of_images_decoded_one_by_one(run):
    folder, images = run
    rows = {
        (row["key"], row["removed"], row["scale"], row["n"]): row
        for row in read_table(folder / "rows.parquet").to_pylist()
        if row["measure"] == "probability_change"
    }
    assert len(rows) == 2 * (10 + 9 + 3 * len(N)) and {key for key, *_ in rows} == {"a", "b"}
    for row, key in enumerate("ab"):
        for scale in (0, 4, 9):
            found = rows[key, "scale", scale, None]
            assert found["value"] == pytest.approx(change(folder, images, row, scale == SCALES), abs=1e-4)
            assert found["side"] == SIDES[scale] and found["judge"] == "resnet" and found["label"] == images.labels[row]
        finer = rows[key, "finer", 6, None]["value"]
        assert finer == pytest.approx(change(folder, images, row, SCALES > 6), abs=1e-4)
        highest = np.argsort(-images.scores["importance"][row])[:12]
        important = rows[key, "importance", None, 12]["value"]
        assert important == pytest.approx(change(folder, images, row, highest), abs=1e-4)
        beyond = rows[key, "beyond_random", None, 12]["value"]
        assert beyond == pytest.approx(important - rows[key, "random", None, 12]["value"])
    assert len({row["value"] for row in rows.values()}) > 40


def test_shares_are_counts_of_the_highest_tokens(run):
    folder, images = run
    rows = [row for row in read_table(folder / "rows.parquet").to_pylist() if row["measure"] == "share"]
    for row, key in enumerate("ab"):
        highest = SCALES[np.argsort(-images.scores["importance"][row])[:5]]
        found = [one["value"] for one in rows if one["key"] == key and one["n"] == 5]
        assert found == [np.mean(highest == scale) for scale in range(10)]


def test_images_of_other_scales_are_refused(run, tmp_path):
    folder, images = run
    write_tokens(
        tmp_path / "importance.parquet", Tokens(images.keys, images.labels, images.tokens, images.shape, images.scores)
    )
    with pytest.raises(InputError, match=r"scales \[\]; those of the generator: \(1, 1, 2, "):
        ablate_scales(
            tmp_path / "rows.parquet", [tmp_path / "importance.parquet"], judges=[], images_per_class=1, n=[1], batch=2,
            family="var", generator=folder / "weights.safetensors", device="cpu",
        )  # fmt: skip


def metrics():
    """Two scales of 1 and 4 tokens, two judges that differ, one extractor."""

    def row(measure, judge, removed, scale, n, value, half=0.01):
        side = None if scale is None else scale + 1
        of = {"measure": measure, "judge": judge, "removed": removed, "scale": scale, "side": side, "n": n}
        return {"extractor": "cnn", "training": None, "images": 8, "value": value} | of | {
            "low": value - half, "high": value + half
        }  # fmt: skip

    rows = [row("share", None, None, scale, 3, value) for scale, value in ((0, 0.3), (1, 0.7))]
    for judge, more in (("vit", 0.0), ("resnet", 0.2)):
        rows += [row("probability_change", judge, "scale", 0, None, -0.5 - more)]
        rows += [row("probability_change", judge, "scale", 1, None, -0.1 - more)]
        rows += [row("probability_change", judge, "finer", 0, None, -0.2 - more)]
        kinds = (("importance", -0.3), ("random", -0.3 + more), ("beyond_random", -more))
        rows += [row("probability_change", judge, kind, None, 3, value) for kind, value in kinds]
    return rows


def test_the_page_says_what_scales_carry():
    topic = section(metrics())
    carried, pointed, removed = topic.findings
    assert carried.headline.startswith("The largest loss is without 1 × 1 (scale 1): −0.600, mean over judges.")
    assert "coarser half the mean change is −0.600, of the finer half −0.200." in carried.headline
    assert carried.details == [
        "With scales up to 1 × 1 (scale 1) alone: −0.300. With scales up to 1 × 1 (scale 1): −0.300."
    ]
    assert pointed.headline.startswith("Scales that hold more of the 3 most important tokens than their share")
    assert "cnn: 1 × 1 (30 %, of all tokens 20 %)." in pointed.headline.replace("\N{NO-BREAK SPACE}", " ")
    assert "is lower than without random ones of the same scales in 1 of 2 combinations" in removed.headline
    tables = {heading: table for heading, _, table in topic.tables}
    changes = tables["Change of the judges' probability of the class by scale"]
    assert [[cell.text for cell in row[:3]] for row in changes.rows] == [
        ["1 × 1", "1", "−0.50 (−0.51 to −0.49)"],
        ["2 × 2", "4", "−0.10 (−0.11 to −0.09)"],
    ]
    assert [cell.text for cell in changes.rows[1]][3] == "–", "no scale is finer than the last"
    shares = tables["Scales of the most important tokens"]
    assert [cell.text for cell in shares.rows[0]] == ["all tokens", "–", "0.200", "0.800"]
    assert [cell.best for cell in shares.rows[1]] == [False, False, True, False]
    ablated = tables["Change of the judges' probability of the class without n tokens"]
    assert [row[1].text for row in ablated.rows if row[-1].best] == ["resnet"]
