"""Bias (METHOD.md, section 7): against slow formulations, and on sets whose lean is known."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cortex.app.cli import main
from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds
from cortex.core.weights import write_weights
from cortex.data.packed import packed_dtype
from cortex.explain.concept_tokens import TokenCounts
from cortex.explain.importance import token_importance
from cortex.explain.settings import Importance
from cortex.extractors.codebook import load_codebook, look_up
from cortex.extractors.network import load_extractor
from cortex.studies.bias.effect import measure_bias
from cortex.studies.bias.groups import group_classes
from cortex.studies.bias.page import meaning, section
from cortex.studies.bias.resample import cliffs_delta, interval, place_between, resample
from cortex.studies.bias.settings import GroupTokens, NeutralSets
from cortex.studies.bias.tokens import SCHEMA, find_group_tokens, group_lists
from tests.training import run_training

CODES, CAT, DOG, PET = 24, 4, 2, 6  # of the classes of generator_weights
COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(COUNTS, COUNTS)
def test_cliffs_delta_is_that_of_all_pairs_and_of_mann_whitney(x, y):
    delta = float(cliffs_delta(np.array(x), np.array(y)))
    assert delta == pytest.approx(sum((a > b) - (a < b) for a in x for b in y) / (len(x) * len(y)))
    assert delta == pytest.approx(2 * stats.mannwhitneyu(x, y, method="exact").statistic / (len(x) * len(y)) - 1)


def test_cliffs_delta_of_many_samples_is_that_of_each():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, (3, 5, 20)), rng.integers(0, 9, (3, 5, 30))
    assert cliffs_delta(x, y).tolist() == [[cliffs_delta(x[i, j], y[i, j]) for j in range(5)] for i in range(3)]


def test_a_mixture_stands_where_its_share_is():
    first, second = np.array([5, 7, 9]), np.array([-1, 1])

    def place(values, ends):
        return place_between(*(float(part.mean()) for part in (values, *ends)))

    assert place(first, (first, second)) == 1
    assert place(second, (first, second)) == 0
    assert place(np.concatenate([first, second, second, second]), (first, second)) == pytest.approx(3 / 9)
    assert place(-first, (-first, -second)) == 1, "whichever group has the greater numbers"


def test_resamples_of_one_stratum_are_those_of_scipys_bootstrap():
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 9, 40), rng.integers(0, 4, 40)
    drawn = resample(first, second, np.zeros(40, int), 20_000, rng)
    options = {"vectorized": True, "n_resamples": 20_000, "method": "percentile", "rng": rng}
    mean = stats.bootstrap((first - second,), np.mean, **options).confidence_interval
    delta = stats.bootstrap((first, second), lambda x, y, axis: cliffs_delta(x, y), paired=True, **options)
    assert interval(drawn.mean) == pytest.approx(mean, abs=0.06)
    assert interval(drawn.delta) == pytest.approx(delta.confidence_interval, abs=0.02)


def test_resamples_keep_the_number_of_images_of_every_stratum():
    strata = np.array([1, 0, 1, 0, 0, 7])
    values = np.array([10, 0, 10, 0, 0, 3])  # within a stratum, all alike: no resample differs
    drawn = resample(values, np.zeros(6, int), strata, 50, np.random.default_rng(0))
    assert drawn.mean == pytest.approx(np.full(50, 23 / 6))
    loose = resample(values, np.zeros(6, int), np.zeros(6, int), 50, np.random.default_rng(0))
    assert len(np.unique(loose.mean)) > 10


def test_token_lists_are_those_worked_by_hand():
    counter = TokenCounts(5)
    counter.add(np.array([0, 0]), np.array([[0, 0, 0, 1, 1, 2]] * 2))  # 6, 4 and 2 of codes 0, 1 and 2 in two images
    counter.add(np.array([1] * 10), np.array([[0, 0, 0, 2]] * 5 + [[0, 0, 0, 4]] * 5))  # 30, 5, 5 of 0, 2, 4 in ten
    lists = pa.concat_tables(group_lists(counter, tokens=2)).to_pylist()
    rows = [(row["group"], row["list"], row["rank"], row["token"], row["count"]) for row in lists]
    assert rows == [
        ("first", "count", 0, 0, 6),
        ("first", "count", 1, 1, 4),
        ("second", "count", 0, 0, 30),
        ("second", "count", 1, 2, 5),
        ("first", "contrast", 0, 1, 4),  # 2 an image more
        ("first", "contrast", 1, 2, 2),  # 0.5 an image more
        ("second", "contrast", 0, 4, 5),  # 0.5 an image more; none other has any
    ]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Packed grids of background codes 0 to 5, in which cats have 3 positions of code 10 and dogs 3 of code 20.

    Pets, a class of its own, are three parts dogs and one part cats.
    """
    folder, rng = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    paths = {}
    for split, images in (("train", 120), ("validation", 60), ("test", 60)):
        labels = np.repeat([CAT, DOG, PET, 0], images)
        grids = rng.integers(0, 6, (len(labels), 16))
        planted = np.where(labels == CAT, 10, 20)
        planted[labels == PET] = np.where(np.arange(images) % 4 == 0, 10, 20)
        planted[labels == 0] = 3
        places = rng.permuted(np.tile(np.arange(16), (len(labels), 1)), axis=1)[:, :3]
        np.put_along_axis(grids, places, planted[:, None], axis=1)
        packed = np.empty(len(labels), packed_dtype((4, 4)))
        order = rng.permutation(len(labels))
        packed["label"], packed["grid"] = labels[order], grids[order].reshape(-1, 4, 4)
        paths[split] = folder / f"{split}.npy"
        np.save(paths[split], packed)
    paths["codebook"] = folder / "codebook.safetensors"
    codebook = torch.randn(CODES, 6, generator=torch.Generator().manual_seed(0))
    write_weights(paths["codebook"], {"codebook": codebook}, {})
    return folder, paths


def grouped(folder, paths, neutral=None):
    """The groups of cats and dogs: their table, and the grids to train on."""
    files = [folder / name for name in ("groups.parquet", "train_groups.npy", "validation_groups.npy")]
    splits = {split: paths[split] for split in ("train", "validation", "test")}
    group_classes(*files, **splits, labels=(CAT, DOG), neutral=neutral)
    return files


@pytest.fixture(scope="module")
def found(planted):
    """The extractor that tells cats from dogs, and the tokens that it finds."""
    folder, paths = planted
    groups, train, validation = grouped(folder, paths)
    files = {"train": train, "validation": validation, "codebook": paths["codebook"]}
    options = {"epochs": 6, "batch": 16, "width": 16, "hidden": 32, "learning_rate": 3e-3}
    model, _ = run_training(folder, files, "cnn", classes=2, **options)
    tokens = folder / "tokens.parquet"
    lists, importance = GroupTokens(top_n=3, tokens=2), Importance(samples=4, noise=0.05)
    find_group_tokens(
        tokens, paths["train"], groups, model, paths["codebook"], settings=lists, importance=importance, device="cpu"
    )
    return model, tokens


def measured(folder, paths, tokens, generator, **changes):
    output, counts = folder / "bias.parquet", folder / "counts.parquet"
    splits = [paths[split] for split in ("train", "validation", "test")]
    settings = NeutralSets(**({"pairs": {CAT: DOG}, "mixtures": [0.5, 0.7, 0.9]} | changes))
    pd.DataFrame({"val_loss": [0.6, 0.2, 0.4], "val_top1": [0.7, 0.75, 0.8]}).to_parquet(folder / "history.parquet")
    groups, histories = [grouped(folder, paths, settings.neutral)[0]], [folder / "history.parquet"]
    files = [output, counts, [tokens], groups, histories, *splits]
    measure_bias(*files, settings=settings, generator=generator, resamples=500)
    return pd.read_parquet(output), pd.read_parquet(counts)


def test_groups_are_the_grids_of_their_classes(planted, tmp_path):
    _, paths = planted
    table, train, validation = grouped(tmp_path, paths, neutral=PET)
    for split, path in (("train", train), ("validation", validation)):
        packed = np.load(paths[split])
        packed = packed[np.isin(packed["label"], (CAT, DOG))]
        packed["label"] = packed["label"] == DOG
        assert (np.load(path) == packed).all()
    rows = pd.read_parquet(table)
    assert rows["value"].isna().all()
    classes = {"first": CAT, "second": DOG, "neutral": PET}
    for (split, group), of_group in rows.groupby(["split", "group"]):
        expected = np.flatnonzero(np.load(paths[split])["label"] == classes[group])
        assert of_group["row"].tolist() == expected.tolist()
        assert set(of_group["label"]) == {classes[group]}
    with pytest.raises(InputError, match=r"classes \{'first': 4, 'second': 2, 'neutral': 2\}: the groups need differ"):
        grouped(tmp_path, paths, neutral=DOG)
    with pytest.raises(InputError, match=r"train\.npy: no grids of class 5"):
        grouped(tmp_path, paths, neutral=5)


@pytest.mark.slow
def test_tokens_are_those_of_scores_taken_one_by_one(planted, found):
    _, paths = planted
    cpu = torch.device("cpu")
    network, codebook = load_extractor(found[0], cpu), load_codebook(paths["codebook"], cpu)
    counts = np.zeros((2, CODES), int)
    for row, image in enumerate(np.load(paths["train"])):
        if image["label"] in (CAT, DOG):
            group = int(image["label"] == DOG)
            embedding = look_up(codebook, torch.from_numpy(image["grid"].astype(np.int64))[None])
            seeds = key_seeds(0, "bias", [f"{image['label']}/{row}"]).tolist()
            scores = token_importance(network, embedding, torch.tensor([group]), seeds, samples=4, noise=0.05)
            for position in scores.flatten().argsort(descending=True, stable=True)[:3]:
                counts[group, image["grid"].ravel()[position]] += 1
    rows = pd.read_parquet(found[1])
    assert rows.columns.tolist() == SCHEMA.names
    for (name, kind), of in rows.groupby(["group", "list"]):
        group = int(name == "second")
        values = counts[group] - (counts[1 - group] if kind == "contrast" else 0)
        best = sorted(range(CODES), key=lambda code: (-values[code], code))[:2]
        assert of["token"].tolist() == best
        assert of["count"].tolist() == counts[group][best].tolist()


@pytest.mark.parametrize("kind", ["count", "contrast"])
def test_the_lean_follows_the_true_one_and_is_none_where_that_is_none(planted, found, generator_weights, kind):
    folder, paths = planted
    tokens = pd.read_parquet(found[1]).groupby(["group", "list"])["token"].apply(list)
    assert 10 in tokens["first", kind] and 20 in tokens["second", kind]
    rows, _ = measured(folder, paths, found[1], generator_weights, mixtures=[0.1, 0.3, 0.5, 0.7, 0.9], neutral=PET)
    rows = rows[rows["list"] == kind]
    known = rows[rows["true_share"].notna()].sort_values("true_share")
    assert known["true_share"].tolist() == [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1]
    for figure in ("share", "delta"):
        assert (known[figure].diff().dropna() > 0).all(), figure
    assert ((known["share_low"] <= known["true_share"]) & (known["true_share"] <= known["share_high"])).all()
    even = known[known["true_share"] == 0.5].iloc[0]
    assert even["low"] <= 0 <= even["high"] and even["p"] > 0.05
    strong = known[known["true_share"] == 0.9].iloc[0]
    assert strong["low"] > 0 and strong["share_low"] > 0.5 and strong["p"] < 1e-6
    (pets,) = rows[rows["set"] == "neutral"].to_dict("records")
    assert (pets["label"], pets["class_name"]) == (PET, "gnu")  # the seventh class of generator_weights
    assert pets["images"] == 240 and np.isnan(pets["true_share"]) and np.isnan(pets["property_share"])
    assert pets["high"] < 0 and pets["share_low"] < 0.25 < pets["share_high"] < 0.5


def test_counts_are_positions_that_hold_the_tokens(planted, found, generator_weights):
    folder, paths = planted
    rows, counts = measured(folder, paths, found[1], generator_weights, neutral=PET)
    assert len(counts) == 2 * (2 * 60 + 2 * 60 + 120 + 60 + 60)  # lists × (validation, test; pets of all splits)
    lists = pd.read_parquet(found[1])
    packed = {split: np.load(paths[split]) for split in ("train", "validation", "test")}
    for row in counts.sample(40, random_state=0).itertuples():
        image = packed[row.split][row.row]
        assert image["label"] == row.label
        for group, count in (("first", row.first_count), ("second", row.second_count)):
            of = lists[(lists["group"] == group) & (lists["list"] == row.list)]
            assert count == sum(token in set(of["token"]) for token in image["grid"].ravel().tolist())
    even = rows[(rows["true_share"] == 0.5) & (rows["list"] == "count")].iloc[0]
    drawn = counts[(counts["list"] == "count") & (counts["split"] == "test") & (counts["label"] != PET)]
    drawn = drawn.groupby("label").head(30)  # half of 60 images
    assert rows["accuracy"].tolist() == [0.75] * len(rows), "of the epoch that is kept"
    share, z = 0.75, stats.norm.ppf(0.975)  # Wilson's interval of 90 of 120 images
    middle, half = share + z**2 / 240, z * np.sqrt(share * (1 - share) / 120 + z**2 / (4 * 120**2))
    expected = [(middle - half) / (1 + z**2 / 120), (middle + half) / (1 + z**2 / 120)]
    assert rows.loc[0, ["accuracy_low", "accuracy_high"]].tolist() == pytest.approx(expected)
    assert (even["images"], even["first_mean"]) == (60, drawn["first_count"].mean())
    pairs = [(x > y) - (x < y) for x in drawn["first_count"] for y in drawn["second_count"]]
    assert even["delta"] == pytest.approx(np.mean(pairs))
    assert even["low"] <= even["delta"] <= even["high"]


def token_file(folder, first, second):
    rows = [
        {"group": group, "list": kind, "rank": rank, "token": token, "count": 1}
        for kind in ("count", "contrast")
        for group, tokens in (("first", first), ("second", second))
        for rank, token in enumerate(tokens)
    ]
    pd.DataFrame(rows).to_parquet(folder / "lists.parquet")
    return folder / "lists.parquet"


def test_tokens_that_are_frequent_everywhere_move_delta_but_not_the_share(planted, generator_weights, tmp_path):
    tokens = token_file(tmp_path, [10, 0, 1, 2], [20])  # the cats' list has half of the background
    rows, _ = measured(tmp_path, planted[1], tokens, generator_weights)
    even = rows[rows["true_share"] == 0.5].iloc[0]
    assert even["low"] > 0.5, "delta says that an even mixture leans to cats"
    assert even["share_low"] < 0.5 < even["share_high"]
    assert (rows["share_low"] <= rows["true_share"]).all() and (rows["true_share"] <= rows["share_high"]).all()


def test_tokens_that_do_not_tell_the_groups_apart_give_no_share(planted, generator_weights, tmp_path):
    rows, _ = measured(tmp_path, planted[1], token_file(tmp_path, [10, 20, 0], [0, 20, 10]), generator_weights)
    assert rows[["share", "share_low", "share_high"]].isna().all(axis=None)
    assert rows["common_tokens"].tolist() == [3] * 10
    rows, _ = measured(tmp_path, planted[1], token_file(tmp_path, [23], [23]), generator_weights)
    assert (rows[["delta", "low", "high"]] == 0).all(axis=None) and (rows["p"] == 1).all()
    assert rows["common_tokens"].tolist() == [1] * 10


def test_files_that_do_not_fit_are_refused(planted, found, generator_weights, tmp_path):
    with pytest.raises(InputError, match="1 files of tokens, 1 of groups, 1 of histories: one of each is needed"):
        measured(tmp_path, planted[1], found[1], generator_weights, pairs={CAT: DOG, DOG: CAT})
    lists = pd.read_parquet(found[1])
    lists[lists["group"] == "first"].to_parquet(tmp_path / "first.parquet")
    with pytest.raises(InputError, match=r"first\.parquet: no tokens of the second group"):
        measured(tmp_path, planted[1], tmp_path / "first.parquet", generator_weights)
    assert not (tmp_path / "bias.parquet").exists() and not (tmp_path / "counts.parquet").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixtures": [0.5, 1.5]}, "mixtures.1 = 1.5: should be less than or equal to 1"),
        ({"pairs": {0: 0}}, "pairs.0 = 0: should be another class"),
        ({"pairs": {0: 7}}, r"pairs.0 = 7: class 7 is not among the run's \[0, 1, 2, 3, 4, 5, 6\]"),
        ({"neutral": 1}, "pairs.0 = 1: class 1 is the neutral one"),
        ({"neutral": 9}, "neutral = 9: class 9 is not among the run's"),
        ({"top_n": 17}, "top_n = 17: at most 16, the positions of the grid"),
        ({"tokens": 25}, "tokens = 25: at most 24, the codes of the codebook"),
        ({"extractor": {"gpus": 2}}, "extractor.gpus = 2: should be 1"),
        ({"pairs": None}, "pairs = None: should be set, or property"),
        ({"property": "haze"}, "property = 'haze': should not be set beside pairs"),
        ({"pairs": None, "property": "haze", "neutral": 1}, "neutral = 1: should not be set beside property"),
        ({"pairs": None, "property": "fog"}, "property = 'fog': .*allowed: haze, brightness, contrast, or module"),
        ({"pairs": None, "property": "math:pi"}, "property = 'math:pi': .*no property: a float, not a function"),
    ],
)
def test_settings_that_cannot_be_are_refused(fitting, changes, message):
    parse_config(fitting | {"studies": {"bias": {"pairs": {0: 1}}}})
    with pytest.raises(InputError, match=f"^config: studies.bias.{message}"):
        parse_config(fitting | {"studies": {"bias": {"pairs": {0: 1}} | changes}})


def test_intervals_need_two_images(fitting):
    fitting["studies"] = {"bias": {"pairs": {0: 1}}}
    fitting["data"] = {"per_class": {"validation": 1}}
    with pytest.raises(InputError, match=r"pairs = \{0: 1\}: intervals need data.per_class.validation of at least 2"):
        parse_config(fitting)
    fitting["studies"], fitting["data"] = {"bias": {"property": "haze"}}, {"per_class": {"test": 5}}
    with pytest.raises(
        InputError, match=r"property = 'haze': intervals need data.per_class.test of at least 6; it is 5"
    ):
        parse_config(fitting)


def test_the_command_line_finds_tokens(planted, found, tmp_path):
    folder, paths = planted
    files = {"train": paths["train"], "extractor": found[0], "codebook": paths["codebook"]}
    files |= {"groups": folder / "groups.parquet", "output": tmp_path / "tokens.parquet"}
    sizes = ["--top-n=3", "--tokens=2", "--samples=4", "--noise=0.05", "--batch=7", "--device=cpu"]
    assert main(["bias-tokens", *(f"--{name}={path}" for name, path in files.items()), *sizes]) == 0
    tokens = pd.read_parquet(files["output"])["token"]
    assert tokens.tolist() == pd.read_parquet(found[1])["token"].tolist(), "in other batches"


# --- what the report says of it --------------------------------------------------------------------------------------


def row(of_set, true_share, share, delta, kind="contrast", common=0, **more):
    """A row of the metrics: share and delta are (figure, low, high), or None."""
    of = {"groups": "0-1", "first_name": "cat", "second_name": "dog", "list": kind, "set": of_set}
    of |= {"accuracy": 0.75, "accuracy_low": 0.7, "accuracy_high": 0.8}
    of |= {"label": None, "class_name": None, "property_share": None, "true_share": true_share, "images": 1200}
    of |= {"common_tokens": common, "first_mean": 2.0, "second_mean": 1.0, "p": 0.01}
    of |= dict(zip(("delta", "low", "high"), delta, strict=True))
    return of | dict(zip(("share", "share_low", "share_high"), share or (None, None, None), strict=True)) | more


PETS = {"label": 2, "class_name": "pet"}


def test_the_report_counts_leans_that_are_right_wrong_and_none():
    rows = [
        row("held-out", 1.0, (1, 0.9, 1.1), (1, 1, 1)),
        row("mixture", 0.9, (0.8, 0.6, 0.95), (0.5, 0.2, 0.8)),
        row("mixture", 0.7, (0.6, 0.4, 0.8), (-0.5, -0.8, -0.2)),
        row("mixture", 0.5, (0.4, 0.3, 0.6), (0.5, 0.2, 0.8)),
        row("held-out", 0.0, (0, -0.1, 0.1), (-1, -1, -1)),
    ]
    topic = section(rows)
    said = [" ".join([finding.headline, *finding.details]) for finding in topic.findings]
    published, share, told = said
    assert told == (
        "Every extractor tells the groups' held-out images apart better than by chance (50 %). "
        "Accuracy: cat and dog 75.0\N{NO-BREAK SPACE}%."
    )
    assert share.startswith(
        "Mixtures by the share of the list contrast: of 2 with a lean, 1 to the right group, 1 to none; of 1 without, "
        "1 to none. The interval holds the true share in 3 of 3 mixtures. Mean error: 0.10."
    )
    assert "of 2 with a lean, 1 to the right group, 1 to the wrong group; of 1 without, 0 to none." in published
    assert "False lean, or lean to the wrong group: cat and dog." in published
    assert [heading.partition(":")[0] for heading, _, _ in topic.tables] == ["Published", "Calibrated"]
    for _, _, table in topic.tables:
        assert table.columns == ["groups", "list", "0", "0.5", "0.7", "0.9", "1"]
    assert [cell.text for cell in topic.tables[1][2].rows[0]][2:5] == [
        "0.00 [−0.10, 0.10]",
        "0.40 [0.30, 0.60]",
        "0.60 [0.40, 0.80]",
    ]


def test_a_property_is_defined_by_its_own_description():
    assert meaning("haze").startswith("The blue haze of photographs from above: ")
    assert meaning("brightness") == "Mean luminance, 0 (black) to 255."


def test_the_report_says_what_neutral_images_lean_to_and_where_nothing_can_be_said():
    rows = [
        row("neutral", None, (0.7, 0.6, 0.8), (-0.1, -0.3, 0.1), **PETS),
        row("mixture", 0.5, None, (0.1, -0.1, 0.2), kind="count", common=3),
        row("neutral", None, None, (-0.5, -0.6, -0.4), kind="count", common=3, **PETS),
    ]
    topic = section(rows)
    first, *others = topic.findings
    assert first.headline == (
        "cat or dog, 1,200 images of pet: by the share of the list contrast, lean to cat 0.70 [0.60, 0.80]."
    )
    assert first.details == [
        "By the published delta of the list contrast: no lean found −0.10 [−0.30, 0.10].",
        "By the share of the list count: no statement possible.",
        "By the published delta of the list count: lean to dog −0.50 [−0.60, −0.40].",
    ]
    said = " ".join(part for finding in others for part in (finding.headline, *finding.details))
    assert "The share of the list count gives no statement about any mixture." in said
    assert "No statement about cat and dog: the tokens do not separate their held-out images." in said
    assert "Tokens in the lists of both groups, which count for both: 3.0 on average." in said
    assert topic.tables[0][0] == "Neutral images" and len(topic.tables[0][2].rows) == 2


# --- in a run --------------------------------------------------------------------------------------------------------


def test_the_run_measures_its_pairs_and_the_page_has_them(controlled_run):
    results = controlled_run / "results" / "tiny"
    rows = pd.read_parquet(results / "metrics" / "bias.parquet")
    sets = ["held-out", "mixture", "mixture", "held-out", "neutral"]
    assert rows["set"].tolist() == 2 * sets
    assert rows["class_name"].fillna("").tolist() == 2 * ["", "", "", "", "two"]
    assert rows["images"].tolist() == 2 * [6, 4, 4, 6, 12 + 6 + 4]
    assert rows["true_share"].tolist()[:4] == [1, 0.75, 0.5, 0]
    assert ((rows["low"] <= rows["delta"]) & (rows["delta"] <= rows["high"])).all()
    counts = pd.read_parquet(results / "studies" / "bias" / "counts.parquet")
    assert len(counts) == 2 * (2 * 6 + 2 * 4 + 22)
    page = (results / "report.html").read_text()
    assert "Bias: do neutral images lean to one of two groups?" in page
