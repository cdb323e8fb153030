"""Controls of the codebook search (METHOD.md, section 9), against readings one at a time and figures worked by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.explain.codebook_search import SCHEMA as FOUND
from cortex.explain.codebook_search import search_codebook
from cortex.extractors.codebook import export_codebook
from cortex.extractors.network import build_extractor, load_extractor, save_extractor
from cortex.generators.taming.generator import load_generator
from cortex.judges.judge import load_judge
from cortex.judges.networks import ResNet
from cortex.studies.transfer.candidates import Searched, donor_grids, random_codes
from cortex.studies.transfer.metrics import summarise
from cortex.studies.transfer.page import section
from cortex.studies.transfer.prior import prior_bonus_of, search_with_prior
from cortex.studies.transfer.search import SCHEMA, control_search
from tests.unit.generators.test_likelihood import bare

EXTRACTORS = {"cnn": {"width": 8, "hidden": 16}, "resnet": {"width": 16, "hidden": 16}}
REGION = {"top": 1, "left": 0, "height": 2, "width": 3}
POSITIONS = [4, 5, 6, 8, 9, 10]
RUN = {"sources": [1, 4], "targets": [4, 2], "images_per_class": 2, "steps": 6, "record_every": 3}
CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def files(generator_weights, tmp_path_factory):
    """A test split of three classes, two extractors, a judge, and what both searches found with each extractor."""
    folder = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"test-{label:04d}-{index:06d}", label, rng.integers(0, 24, (4, 4)).astype(np.uint16))
        for index in range(3)
        for label in (1, 2, 4)
    ]
    write_shard(folder / "000000.tar", samples[:5])
    write_shard(folder / "000001.tar", samples[5:])
    shards = [folder / "000000.tar", folder / "000001.tar"]
    export_codebook(folder / "codebook.safetensors", generator=generator_weights)
    torch.manual_seed(0)
    for name, sizes in EXTRACTORS.items():
        settings = {"channels": 6, "classes": 7, "grid": (4, 4), **sizes}
        network = build_extractor(name, **settings)
        network.train()(torch.randn(32, 6, 4, 4))
        save_extractor(folder / f"{name}.safetensors", name, settings, network.state_dict())
        inputs = (shards, folder / f"{name}.safetensors", folder / "codebook.safetensors")
        search_codebook(folder / f"{name}.parquet", *inputs, **RUN, **REGION, **CPU)
        settings = RUN | {"generator": generator_weights, "prior_weights": [1.0], "refresh_every": 2}
        search_with_prior(folder / f"{name}.prior.parquet", *inputs, **settings, **REGION, **CPU)
    write_weights(folder / "judge.safetensors", ResNet().state_dict(), {"judge": "resnet"})
    return folder, samples


def control(folder, generator, output, **changes):
    names = list(EXTRACTORS)
    arguments = {
        "searches": [folder / f"{name}{kind}.parquet" for kind in ("", ".prior") for name in names],
        "shards": [folder / "000000.tar", folder / "000001.tar"],
        "made_with": names * 2,
        "extractors": [folder / f"{name}.safetensors" for name in names],
        "extractor_names": names,
        "judges": [folder / "judge.safetensors"],
        "judge_names": ["resnet"],
        "generator": generator,
        "top_p": 0.9,
        "batch": 7,
        "device": "cpu",
    }
    control_search(output / "metrics.parquet", output / "rows.parquet", **(arguments | changes))
    return pd.read_parquet(output / "metrics.parquet"), pd.read_parquet(output / "rows.parquet")


@pytest.fixture(scope="module")
def read(files, generator_weights, tmp_path_factory):
    return control(files[0], generator_weights, tmp_path_factory.mktemp("read"))


def test_the_search_with_a_prior_finds_likelier_tokens(files, read):
    """Of random networks: those of the extractor alone are as unlikely as random codes."""
    _, rows = read
    likely = rows[(rows.kind == "prior") & (rows.reader == "target")].groupby("method").log_likelihood.mean()
    assert likely["token_selection_prior_1.0"] > likely["token_selection"]
    table = read_table(files[0] / "cnn.prior.parquet")
    assert table.schema.names == FOUND.names
    assert set(table["method"].to_pylist()) == {"token_selection_prior_1.0"}
    assert table["step"].to_pylist() == [3] * 4 + [6] * 4


def test_the_prior_is_given_the_regions_tokens_as_they_are(generator_weights):
    gpt = load_generator(generator_weights).transformer
    grids = torch.randint(0, 24, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(0, 24, (2, 6), generator=torch.Generator().manual_seed(1))
    prior_bonus = prior_bonus_of(gpt, torch.tensor([3, 5]), grids, POSITIONS, 0.5)(tokens)
    for image, label in enumerate((3, 5)):
        edited = grids[image].flatten().tolist()
        for place, position in enumerate(POSITIONS):
            logits, _ = gpt(torch.tensor([[label, *edited[:position]]]))
            expected = 0.5 * logits[0, -1].log_softmax(-1)
            torch.testing.assert_close(prior_bonus[image, place], expected, rtol=1e-4, atol=1e-4)
            edited[position] = tokens[image, place].item()


def test_every_reading_is_that_of_the_edited_grid_alone(files, read, generator_weights):
    folder, samples = files
    _, rows = read
    grid_of = {sample.key: sample.grid.astype(np.int64) for sample in samples}
    model = load_generator(generator_weights)
    judge = load_judge(folder / "judge.safetensors", torch.device("cpu"))
    networks = {name: load_extractor(folder / f"{name}.safetensors", torch.device("cpu")) for name in EXTRACTORS}
    found = 0
    for maker in EXTRACTORS:
        for kind in ("", ".prior"):
            for searched in read_table(folder / f"{maker}{kind}.parquet").to_pylist():
                grid = grid_of[searched["key"]].copy().reshape(-1)
                grid[POSITIONS] = searched["tokens"]
                grid = torch.from_numpy(grid.reshape(1, 4, 4))
                logits = {("judges", "resnet"): judge.logits(model.decode(grid))[0]}
                for name, network in networks.items():
                    logits["extractors", name] = network(model.codebook[grid].permute(0, 3, 1, 2))[0]
                same = [searched[name] for name in ("key", "method", "step")]
                of = rows[(rows[["key", "method", "step"]] == same).all(axis=1) & (rows.extractor == maker)]
                for row in of[of.kind != "prior"].to_dict("records"):
                    expected = logits[row["kind"], row["reader"]]
                    target = searched["target"]
                    assert row["logit"] == pytest.approx(expected[target].item(), rel=1e-3, abs=1e-4)
                    assert row["probability"] == pytest.approx(expected.softmax(0)[target].item(), rel=1e-3, abs=1e-5)
                    found += 1
                for row in of[of.kind == "prior"].to_dict("records"):
                    label = searched[row["reader"]]
                    logits_there, _ = model.transformer(torch.tensor([[label, *grid.flatten().tolist()[:-1]]]))
                    chances = logits_there[0].log_softmax(-1)
                    expected = np.mean([chances[place, grid.flatten()[place]].item() for place in POSITIONS])
                    assert row["log_likelihood"] == pytest.approx(expected, rel=1e-4, abs=1e-4)
                    assert row["step"] == 6
                    found += 1
    assert found == 2 * 3 * 4 * (
        2 * 3 + 2
    )  # extractors × methods × images × (steps × readers + last step's likelihoods)


def test_references_are_there_for_every_image_as_often_as_a_search_has_steps(read):
    _, rows = read
    references = rows[rows.extractor.isna() & (rows.kind == "judges")]
    counts = references.groupby("method").size().to_dict()
    assert counts == {"random_codes": 8, "pasted_region": 8, "drawn_region": 8, "unedited": 4, "real_target": 4}


def test_random_codes_and_donors():
    grids = np.arange(5 * 4).reshape(5, 2, 2)
    images = Searched(
        keys=[f"k{number}" for number in range(300)],
        source=np.zeros(300, int),
        target=np.repeat([1, 2], 150),
        grids=np.zeros((300, 2, 2), int),
        positions=[1, 3],
        donors={1: grids[:3], 2: grids[3:]},
    )
    codes = random_codes(images, 10, 4, seed=0)
    assert codes.shape == (300, 4, 2)
    assert stats.chisquare(np.bincount(codes.ravel(), minlength=10)).pvalue > 0.001
    chosen = donor_grids(images, 4, seed=0)[:, :, 0, 0] // 4
    assert all(sorted(row[:3]) == [0, 1, 2] and row[3] == row[0] for row in chosen[:150].tolist())
    assert all(sorted(row[:2]) == [3, 4] and row[2:] == row[:2] for row in chosen[150:].tolist())
    assert len({tuple(row) for row in chosen[:150].tolist()}) == 6, "in no order of their own"
    moved = Searched(**{**vars(images), "keys": ["other", *images.keys[1:]]})
    assert (random_codes(moved, 10, 4, seed=0)[1:] == codes[1:]).all(), "an image's numbers are its own"


def reading(key, extractor, method, step, kind, reader, probability):
    given = {"key": key, "extractor": extractor, "method": method, "step": step, "kind": kind, "reader": reader}
    outcome = {"log_likelihood": probability} if kind == "prior" else {"probability": probability, "logit": 2.0}
    return {"source": 0, "target": 1, "logit": None, "probability": None, "log_likelihood": None, **given, **outcome}


@pytest.fixture(scope="module")
def summary():
    """Six images; a search by cnn of two steps, and two random draws; readers cnn, resnet, transformer and a judge."""
    base = {"cnn": 0.9, "resnet": 0.6, "transformer": 0.4, "vit": 0.2}
    rows = []
    for image in range(6):
        for reader, level in base.items():
            kind = "judges" if reader == "vit" else "extractors"
            place = (f"k{image}", "cnn", "token_selection")
            rows.append(reading(*place, 20, kind, reader, level + image / 1000))
            rows.append(reading(*place, 10, kind, reader, level + 0.05))
            for step, chance in ((1, 0.3), (2, 0.1)):
                rows.append(reading(f"k{image}", None, "random_codes", step, kind, reader, chance))
        rows.append(reading(f"k{image}", "cnn", "token_selection", 20, "prior", "target", -5.0))
        rows.append(reading(f"k{image}", "cnn", "token_selection", 20, "prior", "source", -5.75))
    table = summarise(pa.Table.from_pylist(rows, SCHEMA), seed=0)
    return table.to_pandas().set_index(["method", "baseline", "kind", "reader", "measure", "selection"]).sort_index()


def at(summary, method, kind, reader, measure="probability", selection="last", baseline=None):
    keys = (method, baseline, kind, reader, measure, selection)
    match = [all(a == b or (b is None and pd.isna(a)) for a, b in zip(row, keys, strict=True)) for row in summary.index]
    (row,) = summary[match].to_dict("records")
    return row


def test_the_last_step_is_nobodys_choice_and_the_best_is_every_readers_own(summary):
    middle = 0.0025  # mean of image / 1000
    for kind, reader, expected in (
        ("own", "cnn", 0.9),
        ("extractors", "resnet", 0.6),
        ("extractors", "transformer", 0.4),
        ("extractors", None, 0.5),
        ("judges", "vit", 0.2),
        ("judges", None, 0.2),
    ):
        row = at(summary, "token_selection", kind, reader)
        assert row["value"] == pytest.approx(expected + middle)
        assert row["low"] < row["value"] < row["high"]
        assert row["samples"] == 6
        difference = at(summary, "token_selection", kind, reader, baseline="random_codes")
        assert difference["value"] == pytest.approx(expected + middle - 0.2, abs=1e-6)  # draws count with their mean
    assert at(summary, "token_selection", "judges", None, selection="best")["value"] == pytest.approx(0.25)
    assert at(summary, "random_codes", "judges", None, selection="best")["value"] == pytest.approx(0.3)
    assert at(summary, "token_selection", "extractors", None, "gap")["value"] == pytest.approx(0.4)
    assert at(summary, "token_selection", "prior", "target", "log_likelihood")["value"] == -5
    assert at(summary, "token_selection", "prior", None, "log_likelihood_ratio")["value"] == 0.75


def test_p_values_are_corrected_within_a_question(summary):
    """Differences of 0.3, 0.0 (plus image / 1000) in one family, means over readers; those of readers in another."""
    differences = np.arange(6) / 1000
    p = {shift: stats.ttest_1samp(differences + shift, 0).pvalue for shift in (0.3, 0.0)}
    extractors, judges = (
        at(summary, "token_selection", kind, None, baseline="random_codes") for kind in ("extractors", "judges")
    )
    assert extractors["p"] == pytest.approx(p[0.3], rel=1e-3)
    assert judges["p"] == pytest.approx(p[0.0], rel=1e-3)
    assert extractors["p_corrected"] == pytest.approx(2 * p[0.3], rel=1e-3)
    assert judges["p_corrected"] == pytest.approx(p[0.0], rel=1e-3)
    assert (extractors["verdict"], judges["verdict"]) == (
        "better",
        "better" if p[0.0] < 0.05 else "no difference found",
    )
    assert np.isnan(at(summary, "token_selection", "judges", None)["p"])


def test_without_a_prior_its_rows_are_left_out(files, generator_weights, tmp_path, caplog):
    folder, _ = files
    alone = bare(generator_weights, tmp_path / "bare.safetensors")
    with caplog.at_level("INFO"):
        metrics, rows = control(
            folder,
            alone,
            tmp_path,
            searches=[folder / f"{name}.parquet" for name in EXTRACTORS],
            made_with=list(EXTRACTORS),
        )
    assert "no likelihoods" in caplog.text
    assert set(rows.kind) == {"extractors", "judges"}
    assert "drawn_region" not in set(metrics.method)
    inputs = ([folder / "000000.tar"], folder / "cnn.safetensors", folder / "codebook.safetensors")
    with pytest.raises(InputError, match="no prior to stay likely under"):
        search_with_prior(
            tmp_path / "none.parquet", *inputs, generator=alone, prior_weights=[1.0], **RUN, **REGION, **CPU
        )


def test_what_cannot_be_compared_is_refused(files, generator_weights, tmp_path):
    folder, _ = files
    with pytest.raises(InputError, match=r"made with \['te'.*: one of \['cnn', 'resnet'\] for each"):
        control(folder, generator_weights, tmp_path, made_with=["te"] * 4)
    with pytest.raises(InputError, match="2 extractors and 1 judges, 2 and 0 names: one for each is needed"):
        control(folder, generator_weights, tmp_path, judge_names=[])
    with pytest.raises(InputError, match="image 'test-0004-000001' is not in"):
        control(folder, generator_weights, tmp_path, shards=[folder / "000000.tar"])
    other = read_table(folder / "resnet.parquet")
    other = other.set_column(4, "target", pa.array([0] * len(other), pa.int32()))
    write_table(tmp_path / "other.parquet", other)
    searches = [folder / "cnn.parquet", tmp_path / "other.parquet"]
    with pytest.raises(InputError, match=r"other.parquet: not of the same images, classes and region"):
        control(folder, generator_weights, tmp_path, searches=searches, made_with=["cnn", "resnet"])
    assert not (tmp_path / "metrics.parquet").exists()


def metric(extractor, method, kind, value, verdict=None, baseline=None, **of):
    fixed = {
        "reader": None,
        "measure": "probability",
        "selection": "last",
        "low": value,
        "high": value,
        "p_corrected": 0,
    }
    names = {"extractor": extractor, "method": method, "baseline": baseline, "kind": kind, "value": value}
    return fixed | names | {"p_corrected": 0.0, "verdict": verdict} | of


def test_the_page_counts_what_carries_over_and_names_what_does_not():
    rows = []
    for extractor, method, own, extractors, judges in (
        ("cnn", "token_selection", "better", "better", "better"),
        ("cnn", "embedding", "better", "no difference found", "better"),
        ("resnet", "token_selection", "better", "worse", "no difference found"),
        ("resnet", "embedding", "worse", "worse", "worse"),
    ):
        for kind, value, verdict in (("own", 0.9, own), ("extractors", 0.5, extractors), ("judges", 0.25, judges)):
            reader = extractor if kind == "own" else None
            rows.append(metric(extractor, method, kind, value, reader=reader))
            rows.append(metric(extractor, method, kind, 0.1, verdict, "random_codes", reader=reader))
            pasted = "better" if method == "token_selection" and kind != "judges" else "worse"
            rows.append(metric(extractor, method, kind, -0.2, pasted, "pasted_region", reader=reader))
    for extractor in ("cnn", "resnet"):
        rows += [metric(extractor, "pasted_region", kind, 0.45) for kind in ("own", "extractors", "judges")]
    told = section(rows)
    first, read, free, unknown = told.findings
    assert first.headline.startswith("Of 4 codebook searches, 1 carries over to the other extractors and the judges: ")
    assert "0 do so more than the region of another image" in first.headline
    assert first.details == [
        "Carries over to the judges only: embedding optimisation with cnn.",
        "Pleases its own extractor only: token selection with resnet.",
        "Worse than random codes to the other extractors and the judges: embedding optimisation with resnet.",
    ]
    assert "token selection 0.90, against 0.50 as the other extractors do and 0.25 as the judges do" in read.headline
    assert "region of another image of the target class 0.45" in free.headline
    assert "as the other extractors read it, better in all 2 (mean difference −0.200)" in free.details[0]
    assert "no prior" in unknown.headline
    (_, _, values), (_, _, compared) = told.tables
    assert [[cell.text for cell in row][-1] for row in values.rows][:2] == [
        "carries over",
        "carries over to the judges only",
    ]
    assert len(compared.rows) == 4 * 2 * 2


def test_the_page_says_what_was_measured(read):
    """All there is, of random networks: every number of the table is one of the metrics."""
    metrics, _ = read
    told = section(metrics.replace({np.nan: None}).to_dict("records"))
    assert len(told.findings) == 5
    cells = {(row[0].text, row[1].text): [cell.value for cell in row[2:-1]] for row in told.tables[0][2].rows}
    assert len(cells) == 2 * 8
    own, others, judges, best, likelihood = cells["cnn", "token selection with 1.0 × the prior"]
    of = metrics[
        (metrics.extractor == "cnn") & (metrics.method == "token_selection_prior_1.0") & metrics.baseline.isna()
    ]
    expected = of[(of.measure == "probability") & (of.selection == "last")].set_index("kind")
    assert own == expected.loc["own", "value"]
    assert {others, judges} <= {*expected.loc["extractors", "value"], *expected.loc["judges", "value"]}
    assert best == of[(of.selection == "best") & (of.kind == "judges")].value.item()
    assert likelihood == of[(of.kind == "prior") & (of.reader == "target")].value.item()


def test_a_run_that_asks_for_it_holds_its_searches_against_their_controls(controlled_run):
    results = controlled_run / "results" / "tiny"
    metrics = pd.read_parquet(results / "metrics" / "search.parquet")
    rows = pd.read_parquet(results / "controls" / "search" / "readings.parquet")
    assert set(metrics.extractor) == {"cnn", "resnet", "transformer"}
    assert set(metrics.method) == {
        *("token_selection", "embedding", "token_selection_prior_1.0", "random_codes", "pasted_region", "drawn_region"),
        *("real_target", "unedited"),
    }
    assert (metrics.samples == 4).all()
    judged = rows[(rows.kind == "judges") & (rows.method == "token_selection") & (rows.extractor == "cnn")]
    published = pd.read_parquet(results / "evaluation" / "codebook_level" / "cnn" / "vit.parquet")
    best = judged[judged.reader == "vit"].groupby("key").probability.max()
    expected = published[published.method == "token_selection"].set_index("key").target_probability_after
    pd.testing.assert_series_equal(best, expected.sort_index(), check_names=False, rtol=1e-4)
    assert "Codebook searches: concept or adversary?" in (results / "report.html").read_text()
