"""The codebook level (METHOD.md, section 6): edited grids, readings one image at a time, the step that is kept."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.evaluate.codebook_level import best_steps, edited_grids, judge_search
from cortex.explain.codebook_search import SCHEMA
from cortex.generators.load import load_generator
from cortex.judges.judge import load_judge
from cortex.judges.networks import ResNet
from tests.tables import write_samples
from tests.unit.evaluate.by_hand import CPU


def test_the_judges_best_step_is_kept():
    keys, methods = ["a", "b", "a", "b", "a"], ["x", "x", "x", "x", "y"]
    assert best_steps(keys, methods, np.array([0.1, 0.9, 0.5, 0.9, 0.2])) == [2, 1, 4]


def test_only_the_region_is_edited(rng):
    grids = rng.integers(0, 6, (2, 4, 4)).astype(np.uint16)
    edited = edited_grids(grids, np.array([[5, 6], [0, 15]]), np.array([[9, 8], [7, 6]]))
    assert edited[0].ravel()[[5, 6]].tolist() == [9, 8]
    assert edited[1].ravel()[[0, 15]].tolist() == [7, 6]
    assert (edited != grids).sum() <= 4


@pytest.fixture
def searched(tmp_path, rng):
    """Token tables of two shards, what a search found for three of their images, and a judge."""
    samples = [Sample(f"test-{n}", n % 3, rng.integers(0, 24, (4, 4)).astype(np.uint16)) for n in range(6)]
    for shard in (0, 1):
        write_samples(tmp_path / f"{shard}.parquet", samples[3 * shard : 3 * shard + 3])
    rows = [
        {"key": sample.key, "method": method, "step": step, "source": sample.label, "target": 2 - sample.label}
        | {"positions": [5, 6, 9], "tokens": rng.integers(0, 24, 3).tolist(), "logit_before": 0.0, "logit_after": 0.0}
        for sample in (samples[4], samples[0], samples[3])
        for method in ("token_selection", "embedding")
        for step in (2, 4)
    ]
    write_table(tmp_path / "search.parquet", pa.Table.from_pylist(rows, SCHEMA))
    torch.manual_seed(0)
    write_weights(tmp_path / "judge.safetensors", ResNet().state_dict(), {"judge": "resnet"})
    return tmp_path, {sample.key: sample for sample in samples}, rows


def test_a_judge_reads_every_image_before_and_at_its_best_step(searched, generator_weights):
    folder, samples, found = searched
    tables = [folder / "0.parquet", folder / "1.parquet"]
    files = folder / "search.parquet", tables, folder / "judge.safetensors"
    judge_search(folder / "rows.parquet", *files, generator=generator_weights, batch=5, device="cpu")
    rows = read_table(folder / "rows.parquet").to_pylist()
    assert [(row["key"], row["method"]) for row in rows] == list(dict.fromkeys((r["key"], r["method"]) for r in found))
    model, judge = load_generator(generator_weights), load_judge(folder / "judge.safetensors", CPU)

    def reading(grid):
        logits = judge.logits(model.decode(torch.from_numpy(grid.astype(np.int64))[None]))[0]
        return {"logit": logits, "probability": logits.softmax(0)}

    for row in rows:
        sample, after = samples[row["key"]], {}
        for record in found:
            if (record["key"], record["method"]) == (row["key"], row["method"]):
                grid = sample.grid.copy()
                grid.ravel()[record["positions"]] = record["tokens"]
                after[record["step"]] = reading(grid)
        best = max(after, key=lambda step: after[step]["probability"][row["target"]].item())
        assert row["step"] == best
        for when, read in (("before", reading(sample.grid)), ("after", after[best])):
            for which in ("source", "target"):
                for what, values in read.items():
                    assert row[f"{which}_{what}_{when}"] == pytest.approx(values[row[which]].item(), abs=1e-4)


def test_a_search_of_other_images_is_refused(searched, generator_weights):
    folder, *_ = searched
    files = folder / "search.parquet", [folder / "0.parquet"], folder / "judge.safetensors"
    with pytest.raises(InputError, match=r"0.parquet: no image 'test-3'"):
        judge_search(folder / "rows.parquet", *files, generator=generator_weights, batch=5, device="cpu")
