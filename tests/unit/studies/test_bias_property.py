"""Bias by a property of the pictures: grouped within every class, found where it was planted, and told on the page."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cortex.app.cli import main
from cortex.app.plan import counts_of
from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.weights import write_weights
from cortex.data.packed import packed_dtype
from cortex.explain.settings import Importance
from cortex.studies.bias.cost import costs
from cortex.studies.bias.effect import measure_bias
from cortex.studies.bias.groups import group_by_property, thirds
from cortex.studies.bias.page import section
from cortex.studies.bias.resample import interval, place_between, resample
from cortex.studies.bias.sets import alternating
from cortex.studies.bias.settings import GroupTokens, NeutralSets
from cortex.studies.bias.tokens import find_group_tokens
from tests.training import run_training

SPLITS = {"train": 90, "validation": 60, "test": 60}  # images of a class
CLASSES, CODES = 3, 24


# --- groups ----------------------------------------------------------------------------------------------------------


def test_thirds_are_those_worked_by_hand():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
    values = np.array([5, 90, 1, 10, 4, 50, 3, 70, 2, 30, 6]) * 1.0
    groups = {name: rows.tolist() for name, rows in thirds(values, labels, "here").items()}
    # class 0 by value: rows 2, 8, 6, 4, 0, 10; class 1: rows 3, 9, 5, 7, 1
    assert groups == {"first": [0, 1, 10], "second": [2, 3, 8], "neutral": [4, 5, 6, 7, 9]}


@given(st.lists(st.integers(0, 3), min_size=12, max_size=60))
def test_every_class_has_as_many_images_in_both_groups(classes):
    labels = np.concatenate([classes, np.repeat(np.arange(4), 3)])
    values = np.random.default_rng(len(classes)).normal(size=len(labels)) + 5 * labels
    groups = thirds(values, labels, "here")
    assert np.sort(np.concatenate(list(groups.values()))).tolist() == list(range(len(labels)))
    for label in range(4):
        parts = [values[rows[labels[rows] == label]] for rows in groups.values()]
        assert len(parts[0]) == len(parts[1]) == (labels == label).sum() // 3
        assert parts[0].min() > parts[2].max() and parts[2].min() > parts[1].max()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "here: 2 images of class 7; thirds need at least 3"),
        ([1.0, 4.0, 4.0, 4.0, 4.0, 4.0], "here: class 7: no threshold separates its thirds"),
    ],
)
def test_values_without_thirds_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        thirds(np.array(values), np.full(len(values), 7), "here")


def write_split(folder, split, labels, values, grids):
    """Packed grids and measured properties, in two shards."""
    packed = np.empty(len(labels), packed_dtype((4, 4)))
    packed["label"], packed["grid"] = labels, grids.reshape(-1, 4, 4)
    np.save(folder / f"{split}.npy", packed)
    paths = []
    for shard, rows in enumerate(np.array_split(np.arange(len(labels)), 2)):
        table = {"key": [f"{split}-{row}" for row in rows], "label": labels[rows].astype(np.int32)}
        paths.append(folder / f"{split}.{shard}.parquet")
        pd.DataFrame(table | {"value": values[rows]}).to_parquet(paths[-1])
    return folder / f"{split}.npy", paths


def planted_split(folder, split, rng, planted):
    """Images of three classes; of three positions, as many hold code 20 as the value says, if planted; the rest 21.

    Class 2 has three more positions of code 20 whatever its value: an image of it looks more like the first group than
    it is.
    """
    labels = rng.permutation(np.repeat(np.arange(CLASSES), SPLITS[split]))
    veil = rng.integers(0, 4, len(labels))
    grids = rng.integers(0, 5, (len(labels), 16)) + 5 * labels[:, None]  # each class has codes of its own
    grids[:, :3] = np.where(np.arange(3) < veil[:, None], 20, 21)
    grids[labels == 2, 3:6] = 20
    values = veil if planted else rng.integers(0, 4, len(labels))
    return write_split(folder, split, labels, values + rng.random(len(labels)) / 2, grids)


def study(folder, planted, **changes):
    """Groups, extractor, tokens and metrics of images with or without a planted property."""
    rng = np.random.default_rng(2)
    splits = {split: planted_split(folder, split, rng, planted) for split in SPLITS}
    grids = {split: path for split, (path, _) in splits.items()}
    groups, train, validation = (folder / name for name in ("groups.parquet", "t.npy", "v.npy"))
    values = {f"{split}_values": paths for split, (_, paths) in splits.items()}
    group_by_property(groups, train, validation, **grids, **values)
    codebook = folder / "codebook.safetensors"
    vectors = torch.randn(CODES, 6, generator=torch.Generator().manual_seed(0))
    write_weights(codebook, {"codebook": vectors}, {})
    files = {"train": train, "validation": validation, "codebook": codebook}
    options = {"epochs": 6, "batch": 16, "width": 16, "hidden": 32, "learning_rate": 3e-3}
    model, _ = run_training(folder, files, "cnn", classes=2, **options)
    history = folder / "cnn.parquet"
    lists, importance = GroupTokens(top_n=3, tokens=4), Importance(samples=4, noise=0.05)
    tokens, output, counts = folder / "tokens.parquet", folder / "bias.parquet", folder / "counts.parquet"
    find_group_tokens(
        tokens, grids["train"], groups, model, codebook, settings=lists, importance=importance, device="cpu"
    )
    settings = NeutralSets(**({"property": "haze", "mixtures": [0.1, 0.3, 0.5, 0.7, 0.9]} | changes))
    measure_bias(output, counts, [tokens], [groups], [history], *grids.values(), settings=settings, resamples=400)
    return pd.read_parquet(output), folder


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The study of a planted property."""
    return study(tmp_path_factory.mktemp("planted"), planted=True)


def test_groups_have_the_same_classes_in_every_split(found):
    _, folder = found
    rows = pd.read_parquet(folder / "groups.parquet")
    assert rows.groupby(["split", "group", "label"]).size().unstack(["split"]).to_numpy().tolist() == [
        *[[20, 30, 20]] * 9,  # test, train, validation
    ]
    for split in SPLITS:
        packed = np.load(folder / f"{split}.npy")
        values = pd.concat(pd.read_parquet(folder / f"{split}.{shard}.parquet") for shard in (0, 1))["value"].to_numpy()
        of_split = rows[rows["split"] == split]
        assert (packed["label"][of_split["row"]] == of_split["label"]).all()
        assert (values[of_split["row"]] == of_split["value"]).all()
    for split, path in (("train", "t.npy"), ("validation", "v.npy")):
        of_split = rows[(rows["split"] == split) & (rows["group"] != "neutral")].sort_values("row")
        packed, grouped = np.load(folder / f"{split}.npy"), np.load(folder / path)
        assert (grouped["grid"] == packed["grid"][of_split["row"]]).all()
        assert grouped["label"].tolist() == (of_split["group"] == "second").astype(int).tolist()


@pytest.mark.parametrize("kind", ["count", "contrast"])
def test_a_planted_property_is_found_and_mixtures_are_read_as_they_are(found, kind):
    rows, folder = found
    tokens = pd.read_parquet(folder / "tokens.parquet").set_index(["group", "list"])["token"]
    assert tokens["first", kind].iloc[0] == 20
    rows = rows[rows["list"] == kind]
    assert set(rows["first_name"]) == {"high haze"} and set(rows["second_name"]) == {"low haze"}
    assert rows["accuracy_low"].min() > 0.8
    known = rows[rows["label"].isna() & rows["true_share"].notna()].sort_values("true_share")
    assert known["true_share"].tolist() == [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1]
    assert known["images"].tolist() == [60] * 7
    assert (known[known["set"] == "mixture"]["share"].diff().dropna() > 0.1).all()
    assert ((known["share_low"] <= known["true_share"]) & (known["true_share"] <= known["share_high"])).all()
    assert known["property_share"].to_numpy() == pytest.approx(known["true_share"].to_numpy(), abs=0.1)


def test_the_share_of_a_class_shows_the_code_that_it_has_for_another_reason(found):
    rows, folder = found
    rows = rows[(rows["list"] == "contrast") & rows["label"].notna()]
    neutral = rows[rows["set"] == "neutral"].set_index("label")
    assert neutral["class_name"].tolist() == ["annual crop", "forest", "herbaceous vegetation"]
    assert neutral["images"].tolist() == [30 + 20 + 20] * 3
    assert (neutral["property_share"] - neutral["property_share"].mean()).abs().max() < 0.1, "as hazy as the others"
    assert neutral.loc[2, "share_low"] > neutral.loc[[0, 1], "share_high"].max()
    ends = rows[rows["set"] == "mixture"].pivot(index="label", columns="true_share", values="share")
    assert (ends[1.0] > ends[0.0] + 0.5).all(), "in every class, the first group has more of the code"
    values = pd.read_parquet(folder / "groups.parquet")
    low, high = (
        values[(values["split"] == "validation") & (values["group"] == group)] for group in ("second", "first")
    )
    middle = values[(values["group"] == "neutral") & (values["label"] == 2)]["value"].mean()
    expected = (middle - low["value"].mean()) / (high["value"].mean() - low["value"].mean())
    assert neutral.loc[2, "property_share"] == pytest.approx(expected)


def test_where_nothing_is_planted_no_share_is_told(tmp_path):
    rows, _ = study(tmp_path, planted=False)
    assert rows.groupby("list").size().tolist() == [2 + 5 + 1 + 3 * 3] * 2
    assert rows["accuracy_low"].max() < 0.5 < rows["accuracy_high"].min()
    assert rows[["share", "share_low", "share_high"]].isna().all(axis=None)
    assert rows["delta"].notna().all(), "delta says something all the same"
    topic = section(rows.astype(object).where(rows.notna(), None).to_dict("records"))
    assert topic.findings[0].headline == (
        "Invalid: the extractor does not tell apart held-out images of high haze and low haze (accuracy at chance "
        "level)."
    )


def test_intervals_hold_the_share_of_a_mixture_about_as_often_as_they_say():
    rng, held, wide = np.random.default_rng(0), 0, 0
    for _ in range(200):
        labels = np.repeat(np.arange(5), 24)
        draw = [rng.poisson(4 * labels + extra) for extra in (3, 0, 3, 0)]  # two groups to scale by, two to mix
        order = alternating(labels)
        mixture = np.concatenate([draw[2][order[:60]], draw[3][order[:60]]])
        strata = np.concatenate([labels[order[:60]]] * 2)
        means = [
            resample(x, 0 * x, of, 200, rng).mean
            for x, of in zip((mixture, *draw[:2]), (strata, labels, labels), strict=True)
        ]
        low, high = interval(place_between(*means))
        held, wide = held + (low <= 0.5 <= high), wide + high - low
    assert 180 <= held <= 198
    assert wide / 200 < 0.7


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_where_tokens_and_the_measured_property_differ(found):
    rows, _ = found
    topic = section(rows.astype(object).where(rows.notna(), None).to_dict("records"))
    first = topic.findings[0]
    neutral = rows[(rows["list"] == "contrast") & (rows["set"] == "neutral") & rows["label"].notna()]
    more = neutral[neutral["share_low"] > neutral["property_share"]]["class_name"].tolist()
    less = neutral[neutral["share_high"] < neutral["property_share"]]["class_name"].tolist()
    assert more == ["herbaceous vegetation"] and less, "how many lean less depends on the last bits of a training"
    assert first.headline == (
        "Neutral images of 3 classes, share of the list contrast against the measured haze: agreement in "
        f"{2 - len(less)}, more haze by tokens than measured in 1, less in {len(less)}."
    )
    assert first.details[0].startswith("More by tokens: herbaceous vegetation ")
    assert first.details[1].startswith(f"Less by tokens: {less[0]} ")
    assert "The haze of an image is measured from its pixels." in topic.lead
    heading, note, table = topic.tables[0]
    assert heading == "Lean of every class" and "by the haze of their pixels" in note
    assert table.columns[-3:] == ["share measured", "share, low haze", "share, high haze"]
    assert [line[0].text for line in table.rows] == [
        name for name in ("all classes", "annual crop", "forest", "herbaceous vegetation") for _ in "ab"
    ]
    assert [len(table.rows) for _, _, table in topic.tables] == [8, 2, 2]


def test_the_page_says_so_where_tokens_tell_nothing(found):
    rows, _ = found
    silent = rows.assign(share=np.nan, share_low=np.nan, share_high=np.nan)
    topic = section(silent.astype(object).where(silent.notna(), None).to_dict("records"))
    assert topic.findings[0].headline == (
        "The share of the list contrast gives no statement about any class: the tokens do not separate the held-out "
        "images."
    )


# --- settings and commands -------------------------------------------------------------------------------------------


def test_a_property_needs_pictures(fitting, tmp_path):
    fitting["studies"] = {"bias": {"property": "haze"}}
    config, _ = parse_config(fitting)
    assert config.studies["bias"].names() == ["haze"]
    fitting["studies"] = {"bias": {"property": "tests.unit.studies.test_bias_measure:divided"}}
    assert parse_config(fitting)[0].studies["bias"].names() == ["divided"]
    codebook = tmp_path / "codebook.safetensors"
    write_weights(codebook, {"codebook": torch.randn(CODES, 6)}, {})
    (tmp_path / "names.txt").write_text("a\nb\n")
    for split in SPLITS:
        np.save(tmp_path / f"{split}.npy", np.zeros((2, 4, 4), int))
    imports = {split: dict.fromkeys(("source", "labels"), str(tmp_path / f"{split}.npy")) for split in SPLITS}
    alone = {
        "run": "alone",
        "generator": {
            "family": "codebook",
            "weights": str(codebook),
            "grid": [4, 4],
            "class_names": str(tmp_path / "names.txt"),
        },
        "data": {"images": dict.fromkeys(SPLITS, "none"), "imports": imports},
        "extractors": None,
        "judges": None,
        "studies": {"bias": {"property": "haze", "tokens": 4}},
    }
    with pytest.raises(InputError, match=r"bias\.property = 'haze': it needs a generator that decodes images"):
        parse_config(alone)


def test_the_cost_is_that_of_the_groups(fitting):
    fitting["codebook_search"]["images_per_class"] = 5
    fitting["studies"] = {"bias": {"property": "haze", "extractor": {"epochs": 4, "width": 8, "hidden": 8}}}
    fitting["data"] = {"per_class": {"train": 100, "validation": 30, "test": 20}, "images": {"train": "none"}}
    config, spec = parse_config(fitting)
    counts = counts_of(config, spec)
    stages = list(costs(config.studies["bias"], counts))
    by_rule = {(stage.rule, stage.wildcards.get("split")): stage for stage in stages}
    assert by_rule["train_groups", None].samples == 4 * 2 * 33 * 7
    assert by_rule["bias_tokens", None].samples == 2 * 33 * 7
    record = 2 + 2 * 16
    assert by_rule["group_by_property", None].written == (2 * 33 + 2 * 10) * 7 * record
    assert by_rule["measure_property", "train"].flops == 700 * counts.generator.decode_flops
    assert by_rule["measure_property", "test"].flops == 0
    assert by_rule["measure_property", "test"].samples == 140
    assert "group_classes" not in {stage.rule for stage in stages}


def test_the_command_groups_by_property(found, tmp_path, capsys):
    _, folder = found
    words = [
        f"--{name.replace('_', '-')}={tmp_path / name}" for name in ("output", "train_groups", "validation_groups")
    ]
    for split in SPLITS:
        words += [f"--{split}={folder / split}.npy", f"--{split}-values"]
        words += [str(folder / f"{split}.{shard}.parquet") for shard in (0, 1)]
    assert main(["group-by-property", *words]) == 0
    assert (tmp_path / "train_groups").read_bytes() == (folder / "t.npy").read_bytes()
    assert main(["group-by-property", *words[:-1], str(folder / "test.0.parquet")]) == 1
    assert "not of the same images, in the same order, as" in capsys.readouterr().err
