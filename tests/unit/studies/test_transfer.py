"""Transfer of codebook searches (METHOD.md, section 9), against readings one at a time and figures worked by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import stats

from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.evaluate.estimates import over_trainings
from cortex.explain.codebook_search import SCHEMA as FOUND
from cortex.explain.codebook_search import search_codebook
from cortex.explain.settings import CodebookSearch, Region
from cortex.extractors.codebook import export_codebook
from cortex.extractors.network import build_extractor, load_extractor, save_extractor
from cortex.generators.load import load_generator
from cortex.generators.sampling import Sampling
from cortex.judges.judge import load_judge
from cortex.judges.networks import ResNet
from cortex.studies.transfer.candidates import Searched, donor_grids, random_codes
from cortex.studies.transfer.measure import SCHEMA, measure_transfer
from cortex.studies.transfer.metrics import summarise
from cortex.studies.transfer.page import section
from cortex.studies.transfer.prior import prior_bonus_of, search_with_prior
from cortex.studies.transfer.settings import PriorSearch
from tests.tables import write_samples
from tests.unit.generators.test_likelihood import bare

EXTRACTORS = {"cnn": {"width": 8, "hidden": 16}, "resnet": {"width": 16, "hidden": 16}}
POSITIONS = [4, 5, 6, 8, 9, 10]
SEARCH = CodebookSearch(
    region=Region(top=1, left=0, height=2, width=3),
    pairs={1: 4, 4: 2},
    images_per_class=2,
    steps=6,
    record_every=3,
)
CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def files(generator_weights, tmp_path_factory):
    """A test split of three classes, two extractors, a judge, and the results of both searches with each extractor."""
    folder = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"test-{label:04d}-{index:06d}", label, rng.integers(0, 24, (4, 4)).astype(np.uint16))
        for index in range(3)
        for label in (1, 2, 4)
    ]
    tokens = [
        write_samples(folder / "000000.parquet", samples[:5]),
        write_samples(folder / "000001.parquet", samples[5:]),
    ]
    export_codebook(folder / "codebook.safetensors", generator=generator_weights)
    torch.manual_seed(0)
    for name, sizes in EXTRACTORS.items():
        settings = {"channels": 6, "classes": 7, "grid": (4, 4), **sizes}
        network = build_extractor(name, **settings)
        network.train()(torch.randn(32, 6, 4, 4))
        save_extractor(folder / f"{name}.safetensors", name, settings, network.state_dict())
        inputs = (tokens, folder / f"{name}.safetensors", folder / "codebook.safetensors")
        search_codebook(folder / f"{name}.parquet", *inputs, settings=SEARCH, **CPU)
        prior = {"prior": PriorSearch(prior_weights=[1.0], refresh_every=2), "generator": generator_weights}
        search_with_prior(folder / f"{name}.prior.parquet", *inputs, search=SEARCH, **prior, **CPU)
    write_weights(folder / "judge.safetensors", ResNet().state_dict(), {"judge": "resnet"})
    return folder, samples


def measured(folder, generator, output, **changes):
    names = list(EXTRACTORS)
    arguments = {
        "searches": [f"{name}/0={folder / f'{name}{kind}.parquet'}" for kind in ("", ".prior") for name in names],
        "tokens": [folder / "000000.parquet", folder / "000001.parquet"],
        "extractors": [f"{name}/0={folder / f'{name}.safetensors'}" for name in names],
        "judges": [f"resnet={folder / 'judge.safetensors'}"],
        "generator": generator,
        "sampling": Sampling(top_k=None, top_p=0.9),
        "batch": 7,
        "device": "cpu",
    }
    measure_transfer(output / "metrics.parquet", output / "rows.parquet", **(arguments | changes))
    return pd.read_parquet(output / "metrics.parquet"), pd.read_parquet(output / "rows.parquet")


@pytest.fixture(scope="module")
def read(files, generator_weights, tmp_path_factory):
    return measured(files[0], generator_weights, tmp_path_factory.mktemp("read"))


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
    generator = load_generator(generator_weights)
    gpt = generator.transformer
    grids = torch.randint(0, 24, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(0, 24, (2, 6), generator=torch.Generator().manual_seed(1))
    prior_bonus = prior_bonus_of(generator.prior(), torch.tensor([3, 5]), grids, POSITIONS, 0.5)(tokens)
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
    networks = {f"{name}/0": load_extractor(folder / f"{name}.safetensors", torch.device("cpu")) for name in EXTRACTORS}
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
                of = rows[
                    (rows[["key", "method", "step"]] == same).all(axis=1)
                    & (rows.extractor == maker)
                    & (rows.training == 0)
                ]
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


def reading(key, maker, method, step, kind, reader, probability):
    extractor, training = ("cnn", maker) if maker is not None else (None, None)
    given = {"key": key, "extractor": extractor, "training": training, "method": method}
    given |= {"step": step, "kind": kind, "reader": reader}
    outcome = {"log_likelihood": probability} if kind == "prior" else {"probability": probability, "logit": 2.0}
    return {"source": 0, "target": 1, "logit": None, "probability": None, "log_likelihood": None, **given, **outcome}


BASE = {"own": 0.9, "cnn": 0.7, "resnet/0": 0.6, "transformer/0": 0.4, "vit": 0.2}
SHIFTS = (0.0, 0.02, -0.02)  # of the trainings
MIDDLE = 0.0025  # mean of image / 1000


@pytest.fixture(scope="module")
def summary():
    """Six images; searches by three trainings of cnn, of two steps; two random draws; six readers."""
    rows = []
    readers = ["cnn/0", "cnn/1", "cnn/2", "resnet/0", "transformer/0", "vit"]
    for image in range(6):
        for maker, shift in enumerate(SHIFTS):
            for reader in readers:
                kind = "judges" if reader == "vit" else "extractors"
                level = BASE["own"] if reader == f"cnn/{maker}" else BASE.get(reader, BASE["cnn"])
                place = (f"k{image}", maker, "token_selection")
                rows.append(reading(*place, 20, kind, reader, level + shift + image / 1000))
                rows.append(reading(*place, 10, kind, reader, level + 0.05))
            rows.append(reading(f"k{image}", maker, "token_selection", 20, "prior", "target", -5.0))
            rows.append(reading(f"k{image}", maker, "token_selection", 20, "prior", "source", -5.75))
        for reader in readers:
            kind = "judges" if reader == "vit" else "extractors"
            for step, chance in ((1, 0.3), (2, 0.1)):
                rows.append(reading(f"k{image}", None, "random_codes", step, kind, reader, chance))
    return summarise(pa.Table.from_pylist(rows, SCHEMA), seed=0).to_pylist()


def at(summary, kind, reader=None, measure="probability", selection="last", method="token_selection", **of):
    """The row at a place, over all trainings unless ``of`` names one."""
    place = {"method": method, "baseline": None, "kind": kind, "reader": reader, "measure": measure}
    place |= {"selection": selection, "training": None} | of
    (row,) = (row for row in summary if place.items() <= row.items())
    return row


def test_the_last_step_is_nobodys_choice_and_the_best_is_every_readers_own(summary):
    for training, shift in (*enumerate(SHIFTS), (None, 0)):
        of = {"training": training}
        for kind, reader, expected in (
            ("own", None, 0.9),
            ("trainings", None, 0.7),
            ("extractors", "resnet/0", 0.6),
            ("extractors", "transformer/0", 0.4),
            ("extractors", None, 0.5),
            ("judges", "vit", 0.2),
            ("judges", None, 0.2),
        ):
            row = at(summary, kind, reader, **of)
            assert row["value"] == pytest.approx(expected + MIDDLE + shift)
            assert row["low"] < row["value"] < row["high"]
            assert row["samples"] == 6
            assert row["p"] is row["verdict"] is None
            difference = at(summary, kind, reader, **of, baseline="random_codes")
            assert difference["value"] == pytest.approx(expected + MIDDLE + shift - 0.2, abs=1e-6)  # mean of the draws
        assert at(summary, "extractors", measure="gap", **of)["value"] == pytest.approx(0.4)
        assert at(summary, "trainings", measure="gap", **of)["value"] == pytest.approx(0.2)
        assert at(summary, "prior", "target", "log_likelihood", **of)["value"] == -5
        assert at(summary, "prior", None, "log_likelihood_ratio", **of)["value"] == 0.75
    assert at(summary, "judges", selection="best")["value"] == pytest.approx(0.25)
    assert at(summary, "judges", selection="best", method="random_codes")["value"] == pytest.approx(0.3)
    assert {row["reader"] for row in summary if row["kind"] in ("own", "trainings")} == {None}


def test_p_values_are_corrected_within_a_question(summary):
    """Differences of four means over readers in one family; those of single readers in another."""
    kinds = {"trainings": 0.5, "extractors": 0.3, "judges": 0.0}
    p = {}
    for kind, level in kinds.items():
        row = at(summary, kind, baseline="random_codes")
        values = level + np.array(SHIFTS)[:, None] + np.arange(6) / 1000
        (pooled,) = over_trainings(values[:, None]).rows()
        assert (row["p"], row["low"], row["high"]) == pytest.approx([pooled[x] for x in ("p", "low", "high")], rel=1e-3)
        p[kind] = row["p"]
    assert at(summary, "trainings", baseline="random_codes")["p_corrected"] == pytest.approx(3 * p["trainings"])
    assert at(summary, "extractors", baseline="random_codes")["p_corrected"] == pytest.approx(2 * p["extractors"])
    judges = at(summary, "judges", baseline="random_codes")
    assert judges["p_corrected"] == pytest.approx(p["judges"])
    verdicts = {kind: at(summary, kind, baseline="random_codes")["verdict"] for kind in kinds}
    assert verdicts == {"trainings": "better", "extractors": "better", "judges": "no difference found"}
    single = at(summary, "extractors", baseline="random_codes", training=1)
    values = 0.3 + SHIFTS[1] + np.arange(6) / 1000
    assert single["p"] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-3)
    assert single["p_corrected"] is single["verdict"] is None


def test_without_a_prior_its_rows_are_left_out(files, generator_weights, tmp_path, caplog):
    folder, _ = files
    alone = bare(generator_weights, tmp_path / "bare.safetensors")
    with caplog.at_level("INFO"):
        metrics, rows = measured(
            folder,
            alone,
            tmp_path,
            searches=[f"{name}/0={folder / f'{name}.parquet'}" for name in EXTRACTORS],
        )
    assert "no likelihoods" in caplog.text
    assert set(rows.kind) == {"extractors", "judges"}
    assert "drawn_region" not in set(metrics.method)
    inputs = ([folder / "000000.parquet"], folder / "cnn.safetensors", folder / "codebook.safetensors")
    with pytest.raises(InputError, match=r"the generator has no prior: prior_weights should be \[\]"):
        search_with_prior(
            tmp_path / "none.parquet", *inputs, search=SEARCH, prior=PriorSearch(), generator=alone, **CPU
        )


def test_searches_that_cannot_be_compared_are_refused(files, generator_weights, tmp_path):
    folder, _ = files
    with pytest.raises(
        InputError, match=r"search made with 'te/0': allowed: the extractors that read, cnn/0, resnet/0"
    ):
        measured(folder, generator_weights, tmp_path, searches=[f"te/0={folder / 'cnn.parquet'}"])
    with pytest.raises(InputError, match=r"'judge.safetensors': should be name=path"):
        measured(folder, generator_weights, tmp_path, judges=["judge.safetensors"])
    with pytest.raises(InputError, match="no image 'test-0004-000001'"):
        measured(folder, generator_weights, tmp_path, tokens=[folder / "000000.parquet"])
    other = read_table(folder / "resnet.parquet")
    other = other.set_column(4, "target", pa.array([0] * len(other), pa.int32()))
    write_table(tmp_path / "other.parquet", other)
    searches = [f"cnn/0={folder / 'cnn.parquet'}", f"resnet/0={tmp_path / 'other.parquet'}"]
    with pytest.raises(InputError, match=r"other.parquet: not of the same images, classes and region"):
        measured(folder, generator_weights, tmp_path, searches=searches)
    assert not (tmp_path / "metrics.parquet").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refresh_every": 5001}, "refresh_every = 5001: at most codebook_search.steps = 5000"),
        ({"prior_weights": [0.0]}, "prior_weights.0 = 0.0: should be greater than 0"),
        ({"prior_weights": [1.0, 1.0]}, "prior_weights = .*should have every value once"),
    ],
)
def test_settings_that_cannot_be_are_refused(fitting, settings, message):
    parse_config(fitting | {"studies": {"transfer": {}}})
    with pytest.raises(InputError, match=f"^config: studies.transfer.{message}"):
        parse_config(fitting | {"studies": {"transfer": settings}})


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


def test_the_page_counts_what_transfers_and_names_what_does_not():
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
    assert section(rows).answers == {}  # no control at the best step
    for method, value in (("token_selection", 0.4), ("random_codes", 0.375), ("pasted_region", 0.5)):
        rows += [metric(extractor, method, "judges", value, selection="best") for extractor in ("cnn", "resnet")]
    rows += [
        metric(extractor, "token_selection", "judges", 0.1, "no difference found", "random_codes", selection="best")
        for extractor in ("cnn", "resnet")
    ]
    told = section(rows)
    assert told.answers["searches"].replace("\xa0", " ") == (
        "Control: regions that took no search raise it to 38 % (random codes), 50 % (region of another image of the "
        "target class), by each judge's best of as many draws as a search has recorded steps. Searches against random "
        "codes: no difference found in all 2 searches."
    )
    first, read, free, unknown = told.findings
    assert first.headline.startswith("1 of 4 codebook searches transfers to the other extractors and the judges: ")
    assert "None of 4 exceeds the region of another image" in first.headline
    assert first.details == [
        "Transfers to the judges only: embedding optimisation with cnn.",
        "Raises the target for its own extractor only: token selection with resnet.",
        "Worse than random codes for the other extractors and the judges: embedding optimisation with resnet.",
    ]
    assert "selection 0.90 for its own extractor, 0.50 for the other extractors, 0.25 for the judges" in read.headline
    assert "region of another image of the target class 0.45" in free.headline
    assert "for the other extractors better in all 2 (mean difference −0.200)" in free.details[0]
    assert "no prior" in unknown.headline
    (_, _, values), (_, _, compared) = told.tables
    assert [row[2].text for row in values.rows][:2] == [
        "transfers",
        "transfers to the judges only",
    ]
    assert len(compared.rows) == 4 * 2 * 2


def test_the_page_says_what_was_measured(read):
    """All there is, of random networks: every number of the table is one of the metrics."""
    metrics, _ = read
    metrics = metrics[metrics.training.isna()]
    told = section(metrics.replace({np.nan: None}).to_dict("records"))
    assert len(told.findings) == 5
    cells = {(row[0].text, row[1].text): [cell.value for cell in row[3:]] for row in told.tables[0][2].rows}
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
    metrics = pd.read_parquet(results / "metrics" / "transfer.parquet")
    rows = pd.read_parquet(results / "studies" / "transfer" / "readings.parquet")
    assert set(metrics.extractor) == {"cnn", "resnet", "transformer"}
    assert set(metrics.method) == {
        *("token_selection", "embedding", "token_selection_prior_1.0", "random_codes", "pasted_region", "drawn_region"),
        *("real_target", "unedited"),
    }
    assert (metrics.samples == 4).all()
    judged = rows[(rows.kind == "judges") & (rows.method == "token_selection")]
    judged = judged[(judged.extractor == "cnn") & (judged.training == 0)]
    published = pd.read_parquet(results / "evaluation" / "codebook_level" / "cnn" / "0" / "vit.parquet")
    best = judged[judged.reader == "vit"].groupby("key").probability.max()
    expected = published[published.method == "token_selection"].set_index("key").target_probability_after
    pd.testing.assert_series_equal(best, expected.sort_index(), check_names=False, rtol=1e-4)
    assert "Codebook searches: concept or adversary?" in (results / "report.html").read_text()
