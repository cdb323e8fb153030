"""The dictionary of the tiny run, against the run's other files."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import cortex
from cortex.core.tables import read_table
from tests.pipeline import change_config, jobs_in, snakemake

CAUSES = [f"{name}{end}" for name in ("masked", "placed") for end in ("", "_random", "_excess")]


@pytest.fixture(scope="module")
def run(tiny_run):
    return cortex.open_run(tiny_run / "results" / "tiny")


def test_every_code_has_a_row(run):
    codes, train, test = run.codes().to_pylist(), run.tokens("train"), run.tokens("test")
    assert [row["token"] for row in codes] == list(range(256))
    counts, contexts = (Counter(images.tokens.ravel().tolist()) for images in (train, test))
    for row in codes:
        assert (row["count"], sum(row["heat"]), row["contexts"]) == (
            *[counts[row["token"]]] * 2,
            contexts[row["token"]],
        )
        assert len(row["nearest"]) == 3 and row["token"] not in row["nearest"]
        assert 0.5 <= row["sure"] <= 1 or row["kind"] == "hardly used"
    # The most frequent patch of a digit is black, wherever it stands.
    most = max(codes, key=lambda row: row["count"])
    assert most["kind"] == "background"
    assert np.array(Image.open(io.BytesIO(most["patch"]))).shape == (4, 4, 3)


def test_every_code_and_class_that_occurs_has_a_row(run):
    table, train = run.dictionary(), run.tokens("train")
    expected = Counter()
    for label, grid in zip(train.labels.tolist(), train.tokens.tolist(), strict=True):
        expected.update((label, token) for token in grid)
    rows = {(row["label"], row["token"]): row for row in table.to_pylist()}
    assert {pair: row["count"] for pair, row in rows.items()} == dict(expected)
    assert {row["class_name"] for row in rows.values()} == {"one", "two", "seven"}
    for extractor in ("cnn", "resnet", "transformer"):
        of_rank = run.concept_tokens(extractor).to_pylist()
        for kind in ("count", "contrast"):
            listed = {(r["label"], r["token"]): r["rank"] for r in of_rank if (r["list"], r["top_n"]) == (kind, 5)}
            ranks = {pair: row[f"{kind}_rank/tis/{extractor}"] for pair, row in rows.items()}
            assert {pair: rank for pair, rank in ranks.items() if rank is not None} == listed
        assert all(row[f"importance/tis/{extractor}"] is not None for row in rows.values())


def test_causes_are_means_over_judges_and_images(run):
    rows = [row for row in run.dictionary().to_pylist() if row["masked"] is not None]
    assert 1 <= len(rows) <= 4
    for name, command in (("masked", "mask_codes"), ("placed", "place_codes")):
        judged = [read_table(run.folder / "evaluation" / command / f"{judge}.parquet") for judge in run.judges]
        for row in rows:
            of_pair = [
                each
                for table in judged
                for each in table.to_pylist()
                if (each["label"], each["token"]) == (row["label"], row["token"])
            ]
            for method, column in (("code", name), ("random", f"{name}_random")):
                changes = [each["probability_change"] for each in of_pair if each["method"] == method]
                assert row[column] == pytest.approx(np.mean(changes), abs=1e-7)
                assert len(changes) == 2 * row[f"{name}_images"] <= 2 * 2
            for column in (each for each in CAUSES if each.startswith(name)):
                low, value, high = (row[f"{column}{end}"] for end in ("_low", "", "_high"))
                assert low is None and high is None if row[f"{name}_images"] == 1 else low <= value <= high


def test_only_what_a_setting_changes_is_made_again(tiny_run, tmp_path):
    """In dry runs, with a changed copy of the config."""
    config, tables = tmp_path / "changed.yaml", ("results/tiny/codes.parquet", "results/tiny/dictionary.parquet")
    measured = {"mask_codes": 2, "place_codes": 2, "dictionary": 1}
    expected = [
        ({"kinds": {"least_share": 0.4}}, {"describe_codes": 1, "choose_pairs": 1, **measured}),
        ({"nearest": 2}, {"describe_codes": 1}),
        ({"rows": 50}, {"dictionary": 1}),
        ({"causes": {"pairs": 3}}, {"choose_pairs": 1, **measured}),
        ({"causes": {"images_per_pair": 1}}, measured),
    ]
    for changed, jobs in expected:
        config.write_bytes((tiny_run / "tests" / "tiny.yaml").read_bytes())
        change_config(config, {"dictionary": changed})
        done = snakemake(tiny_run, *tables, "--dry-run", "--configfile", config)
        assert done.returncode == 0, done.stderr
        assert jobs_in(done) == jobs, changed
