"""The planted benchmark: that it plants what it says, that it measures what it says, and what it finds."""

import shutil
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import read_weights
from cortex.data.packed import read_packed
from cortex.data.settings import PerClass
from cortex.data.shard_reader import read_shard
from cortex.data.tokens import read_tokens, write_tokens
from cortex.dictionary.kinds import CodeKinds
from cortex.dictionary.settings import Kinds
from cortex.evaluate.estimates import over_trainings
from cortex.explain.settings import CodebookSearch, Region
from cortex.extractors.settings import TransformerSettings
from cortex.extractors.train import train_extractor
from cortex.studies.attributions.settings import AttributedImages
from cortex.studies.planted.explain import explain_planted
from cortex.studies.planted.grids import BACKGROUND, DECOY, OWN, SHORTCUT, choose_codes, draw_grids
from cortex.studies.planted.kinds import score_kinds
from cortex.studies.planted.kinds import scores as kind_scores
from cortex.studies.planted.measure import measure_planted, precision_and_recall
from cortex.studies.planted.page import section
from cortex.studies.planted.plant import plant
from cortex.studies.planted.recommended import ranked_methods
from cortex.studies.planted.settings import PlantedGrids
from cortex.studies.planted.truth import read_truth
from tests.pipeline import jobs_in, snakemake

VARIANTS = ["plain", "shortcut", "shared", "combination"]
SMALL = {"classes": 4, "codes": 64, "codes_per_class": 3, "positions": 4}
SHAPE = {"height": 6, "width": 5, "channels": 7}


def grids_of(train, validation, test, **changes):
    sizes = PerClass(train=train, validation=validation, test=test)
    return PlantedGrids(**SMALL | {"per_class": sizes} | changes)


# --- what is planted ---------------------------------------------------------------------------------------------


def drawn(variant, count=200, seed=0, **how):
    rng = np.random.default_rng(seed)
    planted = choose_codes(variant, SMALL["classes"], SMALL["codes"], SMALL["codes_per_class"], rng)
    labels = np.arange(count) % SMALL["classes"]
    tokens, roles = draw_grids(variant, planted, labels, (6, 5), SMALL["positions"], rng, **how)
    assert tokens.shape == roles.shape == (count, 6, 5)
    return planted, labels, tokens.reshape(count, -1), roles.reshape(count, -1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_code_is_of_one_class_or_of_the_background(variant):
    planted, *_ = drawn(variant)
    background = planted.background.tolist()
    counts = Counter(code for codes in planted.codes.tolist() for code in codes)
    assert sorted([*counts, *background]) == list(range(SMALL["codes"]))
    size = {"plain": 3, "shortcut": 4, "shared": 3, "combination": 2}[variant]
    assert planted.codes.shape == (4, size)
    if variant == "shared":  # half of three, rounded down, is the neighbour's too
        assert sorted(counts.values()) == [1] * 8 + [2] * 2
        for one, other in ((0, 1), (2, 3)):
            assert set(planted.codes[one]) & set(planted.codes[other]) == {planted.codes[one, -1]}
    else:
        assert set(counts.values()) == {1}


@pytest.mark.parametrize("variant", ["plain", "shared"])
def test_an_image_holds_its_classs_codes_and_no_other_classs(variant):
    planted, labels, tokens, roles = drawn(variant)
    for label, image, role in zip(labels, tokens, roles, strict=True):
        of_class = dict(zip(planted.codes[label].tolist(), planted.roles.tolist(), strict=True))
        held = image[role != BACKGROUND].tolist()
        assert sorted(Counter(held).values()) == [1, 1, 2]  # four positions, three codes in turn
        assert set(held) == set(of_class)
        assert all(of_class[token] == of for token, of in zip(held, role[role != BACKGROUND].tolist(), strict=True))
        assert set(image[role == BACKGROUND].tolist()) <= set(planted.background.tolist())


@pytest.mark.parametrize("as_trained", [True, False])
def test_the_shortcut_goes_with_the_class_in_training_only(as_trained):
    planted, labels, tokens, roles = drawn("shortcut", count=800, as_trained=as_trained)
    assert ((roles == OWN).sum(1) == 4).all()
    assert ((roles == SHORTCUT).sum(1) == 2).all()
    shortcuts = planted.codes[:, -1].tolist()
    of = np.array([shortcuts.index(image[role == SHORTCUT][0]) for image, role in zip(tokens, roles, strict=True)])
    if as_trained:
        assert (of == labels).all()
    else:  # independent: a quarter each, of any class
        table = np.array([[((labels == label) & (of == other)).mean() for other in range(4)] for label in range(4)])
        assert np.abs(table - 1 / 16).max() < 0.03


def test_in_a_combination_only_the_class_has_both_codes():
    planted, labels, tokens, roles = drawn("combination", count=4000)
    for label, image, role in zip(labels[:200], tokens, roles, strict=False):
        for other, pair in enumerate(planted.codes.tolist()):
            counts = sorted((image == code).sum() for code in pair)
            assert counts == ([2, 2] if other == label else [0, 4])
        assert np.isin(image[role == OWN], planted.codes[label]).all() and (role == OWN).sum() == 4
        assert (role == DECOY).sum() == 3 * 4
    # By itself no code says anything: it is as frequent in all classes.
    for code in planted.codes.ravel():
        means = [(tokens[labels == label] == code).sum(1).mean() for label in range(4)]
        assert means == pytest.approx([2] * 4, abs=0.25)


def test_the_background_is_zipf_and_positions_are_any():
    planted, labels, tokens, roles = drawn("plain", count=6000)
    background = tokens[roles == BACKGROUND]
    shares = np.array([(background == code).mean() for code in planted.background])
    weights = 1 / np.arange(1, len(shares) + 1)
    assert np.abs(shares - weights / weights.sum()).max() < 0.01
    for label in range(4):
        assert (roles[labels == label] == OWN).mean(0) == pytest.approx(np.full(30, 4 / 30), abs=0.05)


@pytest.fixture(scope="module")
def planted_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    plant(folder, variant="shared", settings=grids_of(train=5, validation=3, test=2), **SHAPE, seed=4)
    return folder


def test_the_truth_is_that_of_the_grids(planted_folder):
    truth = read_truth(planted_folder)
    assert {name: codes.shape for name, codes in truth.codes.items()} == {
        "planted": (4, 3),
        "own": (4, 2),
        "shared": (4, 1),
    }
    for split, count in (("train", 5), ("validation", 3), ("test", 2)):
        samples = list(read_shard(planted_folder / f"{split}.tar", codes=64))
        assert [sample.key for sample in samples] == truth.keys[split]
        images = read_tokens(planted_folder / f"{split}.parquet", codes=64)
        assert images.keys == truth.keys[split]
        assert (images.grids == np.stack([sample.grid for sample in samples])).all()
        assert Counter(sample.label for sample in samples) == dict.fromkeys(range(4), count)
        for place, sample in enumerate(samples):
            for name, codes in truth.codes.items():
                holds = np.isin(sample.grid.ravel(), codes[sample.label])
                assert (truth.positions[split][name][place] == holds).all()


def test_what_is_trained_on_is_what_the_shards_hold(planted_folder):
    for split in ("train", "validation"):
        samples = list(read_shard(planted_folder / f"{split}.tar"))
        packed = read_packed(planted_folder / f"{split}.npy")
        assert (packed["grid"] == np.stack([sample.grid for sample in samples])).all()
        assert packed["label"].tolist() == [sample.label for sample in samples]
    codebook = read_weights(planted_folder / "codebook.safetensors")[0]["codebook"]
    assert codebook.shape == (64, 7)
    assert codebook.norm(dim=1).tolist() == pytest.approx([1] * 64, abs=1e-6)


def test_the_same_seed_plants_the_same_and_another_seed_or_variant_another(planted_folder, tmp_path):
    settings, files = grids_of(train=5, validation=3, test=2), {}
    for name, changes in {"again": {}, "seed": {"seed": 5}, "variant": {"variant": "plain"}}.items():
        plant(tmp_path / name, settings=settings, **({"variant": "shared", "seed": 4} | SHAPE | changes))
        files[name] = (tmp_path / name / "test.tar").read_bytes()
    assert files["again"] == (planted_folder / "test.tar").read_bytes()
    assert len(set(files.values())) == 3


@pytest.mark.parametrize(
    ("variant", "changes", "message"),
    [
        ("combination", {"classes": 8}, "combination: 4 positions of each of 8 classes: a grid has 30"),
        ("shortcut", {"positions": 21}, "shortcut: 21 positions of each of 4 classes: a grid has 30"),
    ],
)
def test_positions_that_a_grid_does_not_have_are_refused(variant, changes, message, tmp_path):
    settings = PlantedGrids(**SMALL | {"codes_per_class": 2} | changes)
    with pytest.raises(InputError, match=message):
        plant(tmp_path / "none", variant=variant, settings=settings, **SHAPE)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": 2}, "positions = 2: should be at least codes_per_class = 3"),
        ({"codes": 24}, "codes_per_class = 3: should be at most 2, so that half of codes = 24 is left to the"),
        ({"classes": 3}, "classes = 3: should be a multiple of 2"),
        (
            {"variants": ["combination"], "classes": 6},
            "positions = 4: with 6 classes, combination takes 24 positions; ",
        ),
        ({"variants": ["both"]}, "variants.0 = 'both': should be 'plain', 'shortcut', 'shared' or 'combination'"),
        (
            {"attributions": {"images_per_class": 61}},
            "attributions.images_per_class = 61: should be at most per_class.",
        ),
        ({"searched_per_class": 61}, "searched_per_class = 61: should be at most per_class.test = 60"),
        ({"extractors": {"cnn": {"network": "cnn", "gpus": 2}}}, "extractors.cnn.gpus = 2: should be 1"),
        (
            {"extractors": {"cnn": {"network": "cnn", "depth": 2}}},
            "extractors.cnn.depth: unknown key; allowed here: .*width",
        ),
        (
            {"extractors": {"cnn": {"network": "mlp"}}},
            "extractors.cnn.network = 'mlp': allowed: cnn, .*module:Attribute",
        ),
        ({"extractors": {"cnn": {"width": 8}}}, "extractors.cnn.network: missing; .*extractors: {cnn: {network: cnn, "),
        ({"extractors": {}}, "extractors = {}: "),
    ],
)
def test_settings_that_cannot_be_are_refused(fitting, changes, message):
    settings = SMALL | {"variants": ["plain"], "extractors": {"cnn": {"network": "cnn"}}}
    config, _ = parse_config(fitting | {"studies": {"planted": settings}})
    assert config.model_dump()["studies"]["planted"]["extractors"]["cnn"]["width"] == 512, "all settings are recorded"
    with pytest.raises(InputError, match=f"^config: studies.planted.{message}"):
        parse_config(fitting | {"studies": {"planted": settings | changes}})


# --- what is measured --------------------------------------------------------------------------------------------


@given(st.data())
def test_precision_and_recall_are_those_of_a_loop(data):
    images, size = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 9))
    numbers = st.lists(st.permutations(range(size)), min_size=images, max_size=images)
    scores = np.array(data.draw(numbers))
    mask = np.array(
        data.draw(st.lists(st.lists(st.booleans(), min_size=size, max_size=size), min_size=images, max_size=images))
    )
    sought = [(row, hidden) for row, hidden in zip(scores, mask, strict=True) if hidden.any()]
    if not sought:
        return
    most = max(int(hidden.sum()) for _, hidden in sought)
    expected = []
    for n in sorted({1, most, min(2 * most, size)}):
        hits = [
            sum(bool(hidden[place]) for place in sorted(range(size), key=lambda at: -row[at])[:n])
            for row, hidden in sought
        ]
        there = [int(hidden.sum()) for _, hidden in sought]
        expected.append((n, "precision", [Fraction(hit, n) for hit in hits], Fraction(sum(there), size * len(there))))
        expected.append((n, "recall", [Fraction(*pair) for pair in zip(hits, there, strict=True)], Fraction(n, size)))
    found = list(precision_and_recall({"of": 1}, scores, mask))
    assert [(row["n"], row["measure"], row["of"]) for row, *_ in found] == [(n, name, 1) for n, name, *_ in expected]
    for (_, values, chance), (_, _, wanted, guess) in zip(found, expected, strict=True):
        assert values.tolist() == pytest.approx([float(value) for value in wanted])
        assert chance == pytest.approx(float(guess))


@pytest.fixture
def explained(planted_folder, tmp_path):
    """A perfect explanation of the planted folder by an extractor that guesses; its search finds nothing."""
    truth = read_truth(planted_folder)
    for split in ("validation", "test"):
        mask = truth.positions[split]["planted"]
        scores = {"importance": mask.astype(np.float32)}
        images = replace(read_tokens(planted_folder / f"{split}.parquet"), scores=scores)
        write_tokens(tmp_path / f"{split}.parquet", images, {"predicted": pa.array([0] * len(mask), pa.int32())})
    # Occlusion is as wrong as can be.
    wrong = [[-score for score in row] for row in scores["importance"].tolist()]
    right = scores["importance"].tolist()
    columns = {"key": truth.keys["test"] * 2, "method": ["tis"] * 8 + ["occlusion"] * 8}
    lists = pa.array([*right, *wrong], pa.list_(pa.float32(), mask.shape[1]))
    write_table(tmp_path / "attributions.parquet", pa.table({**columns, "scores": lists}))
    tokens = [
        {"label": label, "top_n": 4, "list": kind, "rank": rank, "token": int(token), "count": 1}
        for kind, shift in (("count", 0), ("contrast", 1))  # the contrast of the next class: half of it is wrong
        for label in range(4)
        for rank, token in enumerate(truth.codes["planted"][(label + shift) % 4])
    ]
    write_table(tmp_path / "tokens.parquet", pa.Table.from_pylist(tokens))
    nothing = next(code for code in range(64) if code not in truth.codes["planted"])
    one = int(truth.codes["own"][1, 0])
    search = [
        {"method": "token_selection", "target": 1, "tokens": [nothing, one, one, nothing]},
        {"method": "embedding", "target": 1, "tokens": [nothing] * 4},
    ]
    write_table(tmp_path / "search.parquet", pa.Table.from_pylist(search))
    return tmp_path


def measured(planted_folder, explained):
    """The metrics of one training."""
    output, recommended = explained / "planted.parquet", explained / "recommended.parquet"
    named = {"variants": ["shared"], "extractors": ["cnn/3"]}
    measure_planted(output, recommended, [planted_folder], [explained], **named, codes=64, resamples=200)
    return [row for row in read_table(output).to_pylist() if row["training"] is not None]


def values(rows, **of):
    return {
        (row["n"], row["measure"]): (row["value"], row["chance"])
        for row in rows
        if all(row[name] == value for name, value in of.items())
    }


def test_a_perfect_explanation_finds_all(planted_folder, explained):
    rows = measured(planted_folder, explained)
    assert {(row["extractor"], row["training"]) for row in rows} == {("cnn", 3)}
    found = values(rows, what="positions", split="test", truth="planted", method="tis")
    share = 4 / 30
    assert found == {
        (1, "precision"): (1, pytest.approx(share)),
        (1, "recall"): (0.25, pytest.approx(1 / 30)),
        (4, "precision"): (1, pytest.approx(share)),
        (4, "recall"): (1, pytest.approx(share)),
        (8, "precision"): (0.5, pytest.approx(share)),
        (8, "recall"): (1, pytest.approx(8 / 30)),
    }
    others = [row for row in rows if row["method"] == "occlusion" and row["truth"] == "planted"]
    assert {(row["value"], row["units"]) for row in others} == {(0, 8)}
    lists = values(rows, what="codes", method="tis", list="count", truth="planted")
    assert lists[3, "precision"] == lists[3, "recall"] == (1, pytest.approx(3 / 64))
    accuracy = [row for row in rows if row["what"] == "labels"]
    assert [(row["split"], row["value"], row["chance"], row["units"]) for row in accuracy] == [
        ("validation", 0.25, 0.25, 12),
        ("test", 0.25, 0.25, 8),
    ]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_lists_are_measured_apart(planted_folder, explained):
    """The contrast lists are those of the next class: right in the codes that two neighbours share."""
    rows, truth = measured(planted_folder, explained), read_truth(planted_folder)
    found = values(rows, what="codes", method="tis", list="contrast", truth="planted")[3, "precision"]
    codes = truth.codes["planted"]
    shared = [len(set(codes[label].tolist()) & set(codes[(label + 1) % 4].tolist())) / 3 for label in range(4)]
    assert sum(shared) > 0 and found[0] == pytest.approx(np.mean(shared))


def test_methods_are_ranked_over_variants_extractors_and_trainings_by_hand():
    """Two cells of two trainings and two images; the mean over cells is the unit. One cell has a third training."""
    first = {"tis": np.array([0.0, 0.5]), "occlusion": np.array([1.0, 0.5]), "random": np.array([0.0, 0.0])}
    second = {"tis": np.array([0.5, 0.5]), "occlusion": np.array([0.5, 1.0]), "random": np.array([0.5, 0.25])}
    cells = [{0: first, 1: second}, {0: second, 1: second, 2: first}]
    learned = [dict.fromkeys(cell, True) for cell in cells]
    rows = ranked_methods(cells, learned, [0.1, 0.3]).to_pylist()
    assert all((row["trainings"], row["left_out"], row["precision_all"]) == (4, 0, row["precision"]) for row in rows)
    assert [(row["rank"], row["method"], row["precision"]) for row in rows] == [
        (1, "occlusion", 0.75),
        (2, "tis", 0.4375),
        (3, "random", 0.28125),
    ]
    assert [row["difference"] for row in rows] == [0.3125, 0, -0.15625]
    assert all((row["chance"], row["images"]) == (pytest.approx(0.2), 2) for row in rows)
    of_training = np.array(
        [
            [[0.75, 0.75], [0.25, 0.5], [0.25, 0.125]],
            [[0.5, 1.0], [0.5, 0.5], [0.5, 0.25]],
        ]
    )
    ends = over_trainings(of_training), over_trainings(of_training - of_training[:, [1]])
    for place, row in enumerate(rows):
        assert (row["low"], row["high"]) == (max(ends[0].low[place], 0), min(ends[0].high[place], 1))
        assert (row["difference_low"], row["difference_high"]) == (ends[1].low[place], ends[1].high[place])
    with pytest.raises(InputError, match="not of the same methods and numbers of images in every folder"):
        ranked_methods([{0: first}, {0: {"tis": np.zeros(2)}}], learned, [0.1, 0.1])


def test_trainings_that_learned_nothing_are_left_out_by_hand():
    """Of two cells of two trainings, the second cell's first training guesses."""
    first = {"tis": np.array([0.0, 0.5]), "occlusion": np.array([1.0, 0.5])}
    second = {"tis": np.array([1.0, 1.0]), "occlusion": np.array([0.0, 0.0])}
    cells, chances = [{0: first, 1: first}, {0: second, 1: second}], [0.1, 0.3]
    rows = ranked_methods(cells, [{0: True, 1: True}, {0: False, 1: True}], chances).to_pylist()
    # Training 0: the first cell alone. Training 1: both cells.
    assert [(row["method"], row["precision"], row["precision_all"]) for row in rows] == [
        ("tis", (0.25 + 0.625) / 2, 0.625),
        ("occlusion", (0.75 + 0.375) / 2, 0.375),
    ][::-1]
    assert all((row["trainings"], row["left_out"]) == (4, 1) for row in rows)
    assert rows[0]["chance"] == pytest.approx((0.1 + 0.1 + 0.3) / 3)
    one = ranked_methods(cells, [{0: False, 1: True}, {0: False, 1: False}], chances).to_pylist()
    assert [(row["method"], row["precision"]) for row in one] == [("occlusion", 0.75), ("tis", 0.25)]
    none = ranked_methods(cells, [{0: False, 1: False}] * 2, chances).to_pylist()
    assert [(row["rank"], row["method"], row["precision"], row["difference"]) for row in none] == [
        (1, "tis", None, None),
        (2, "occlusion", None, None),
    ]
    assert all((row["left_out"], row["chance"]) == (4, pytest.approx(0.2)) for row in none)


def test_the_method_that_finds_most_is_recommended(planted_folder, explained):
    measured(planted_folder, explained)
    first, second = read_table(explained / "recommended.parquet").to_pylist()
    assert (first["precision"], first["precision_all"], first["trainings"], first["left_out"]) == (None, 1, 1, 1)
    images = read_tokens(explained / "validation.parquet", ["importance"])
    write_tokens(explained / "validation.parquet", images, {"predicted": pa.array(images.labels, pa.int32())})
    measured(planted_folder, explained)
    first, second = read_table(explained / "recommended.parquet").to_pylist()
    assert (first["rank"], first["method"], first["precision"], first["images"]) == (1, "tis", 1, 8)
    assert (second["rank"], second["method"], second["precision"], second["difference"]) == (2, "occlusion", 0, -1)
    assert (first["chance"], first["left_out"]) == (pytest.approx(4 / 30), 0)


def test_trainings_are_pooled(planted_folder, explained):
    """The same explanation three times, and once with the scores of the test images turned round."""
    turned = explained / "turned"
    turned.mkdir()
    for path in explained.glob("*.parquet"):
        shutil.copy(path, turned)
    images = read_tokens(explained / "test.parquet", ["importance"])
    scores = {"importance": -images.scores["importance"]}
    write_tokens(
        turned / "test.parquet", replace(images, scores=scores), {"predicted": pa.array([0] * len(images), pa.int32())}
    )
    folders, words = [explained, explained, turned], [f"cnn/{training}" for training in range(3)]
    output, named = explained / "planted.parquet", {"variants": ["shared"] * 3, "extractors": words, "codes": 64}
    measure_planted(output, explained / "recommended.parquet", [planted_folder] * 3, folders, **named, resamples=200)
    rows = read_table(output).to_pylist()
    of = {"method": "tis", "what": "positions", "split": "test", "truth": "planted", "n": 4}
    precision = [row for row in rows if of.items() <= row.items() and row["measure"] == "precision"]
    assert [(row["training"], row["value"]) for row in precision] == [
        (0, 1),
        (1, 1),
        (2, 0),
        (None, pytest.approx(2 / 3)),
    ]
    (pooled,) = over_trainings(np.repeat([[1.0], [1.0], [0.0]], 8, axis=1)[:, None]).rows()
    assert pooled["low"] < 0 and pooled["high"] > 1
    assert (precision[-1]["low"], precision[-1]["high"]) == (0, 1)
    assert precision[-1]["units"] == 8


def test_the_search_is_measured_by_what_marks_its_target(planted_folder, explained):
    rows = measured(planted_folder, explained)
    selected = values(rows, method="token_selection", truth="planted")
    assert selected[4, "precision"] == (0.5, 3 / 64)
    assert selected[4, "recall"] == (pytest.approx(1 / 3), pytest.approx(1 - (63 / 64) ** 4))
    assert values(rows, method="token_selection", truth="own")[4, "recall"][0] == 0.5
    assert values(rows, method="embedding", truth="planted")[4, "precision"][0] == 0


def test_frequent_tokens_are_measured_by_the_data(planted_folder, explained):
    """Three of a class's twelve most frequent codes at hand: counted again from the grids."""
    rows = measured(planted_folder, explained)
    truth, packed = read_truth(planted_folder), read_packed(planted_folder / "validation.npy")
    shares = []
    for label, marking in enumerate(truth.codes["planted"]):
        counts = Counter(packed["grid"][packed["label"] == label].ravel().tolist())
        first = sorted(counts, key=lambda code: (-counts[code], code))[:3]
        shares.append(len(set(first) & set(marking.tolist())) / 3)
    found = values(rows, what="codes", method="frequency", list="count", truth="planted")[3, "precision"]
    assert found[0] == pytest.approx(np.mean(shares))


def test_scores_of_other_images_are_refused(planted_folder, explained):
    (explained / "test.parquet").write_bytes((explained / "validation.parquet").read_bytes())
    with pytest.raises(InputError, match=r"test\.parquet: not of the same images"):
        measured(planted_folder, explained)
    outputs = explained / "no", explained / "none"
    with pytest.raises(InputError, match="1 folders of data, 2 explained"):
        measure_planted(*outputs, [planted_folder], [explained] * 2, variants=["a"], extractors=["b"], codes=64)


# --- kinds of codes ----------------------------------------------------------------------------------------------


def test_kinds_of_codes_are_scored_by_hand():
    """Codes 0 to 5: two mark class 0, one is shared by 0 and 1, three are background."""
    truth, classes = np.array([0, 0, 1, 2, 2, 2]), {0: {0}, 1: {0}, 2: {0, 1}}
    named = np.array([0, 1, 1, 2, 0, 2])
    lists = pa.array([[0], [0, 1], [0, 2], [], [1], []], pa.list_(pa.int32()))
    found = CodeKinds(named, *[np.ones(6)] * 3, lists)
    marks, shared, background = kind_scores(found, truth, classes, resamples=500, seed=0)
    assert (marks["codes"], marks["named"], marks["precision"], marks["recall"]) == (2, 2, 0.5, 0.5)
    assert (marks["precision_low"], marks["precision_high"]) == (0, 1)
    assert (shared["codes"], shared["named"], shared["precision"], shared["recall"]) == (1, 2, 0.5, 1)
    assert (marks["right_classes"], shared["right_classes"]) == (1, 0), "class 2 does not share code 2"
    assert (background["codes"], background["named"], background["precision"]) == (3, 2, 1)
    assert background["recall"] == pytest.approx(2 / 3) and "right_classes" not in background


@pytest.mark.parametrize("variant", VARIANTS)
def test_kinds_of_enough_planted_images_are_right(variant, tmp_path):
    settings = grids_of(train=300, validation=2, test=2)
    plant(tmp_path, variant=variant, settings=settings, height=6, width=6, channels=4)
    score_kinds(tmp_path / "kinds.parquet", [tmp_path], variants=[variant], codes=64, settings=Kinds())
    rows = {row["kind"]: row for row in read_table(tmp_path / "kinds.parquet").to_pylist()}
    assert {kind: row["codes"] for kind, row in rows.items()} == {
        "plain": {"marks a class": 12, "background": 52},
        "shortcut": {"marks a class": 16, "background": 48},
        "shared": {"marks a class": 8, "shared by classes": 2, "background": 54},
        "combination": {"background": 64},
    }[variant]
    for kind, row in rows.items():
        assert row["precision"] == row["recall"] == 1
        assert row["right_classes"] == (None if kind == "background" else 1)


# --- what is found -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The plain variant, read by the transformer and explained: rows of the metrics."""
    folder = tmp_path_factory.mktemp("found")
    settings = grids_of(train=150, validation=30, test=30)
    plant(folder, variant="plain", settings=settings, height=6, width=6, channels=32)
    model = folder / "transformer" / "model.safetensors"
    train_extractor(
        model,
        model.with_name("history.parquet"),
        folder / "train.npy",
        folder / "validation.npy",
        folder / "codebook.safetensors",
        settings=TransformerSettings(
            network="transformer",
            width=32,
            layers=1,
            heads=2,
            mlp=32,
            hidden=32,
            dropout=0.0,
            epochs=8,
            batch=32,
            learning_rate=3e-3,
        ),
        classes=4,
        device="cpu",
    )
    region = Region(top=1, left=1)
    search = CodebookSearch(region=region, steps=100, record_every=100, learning_rate=0.1)
    explain_planted(
        model.parent,
        folder,
        model,
        positions=4,
        searched_per_class=2,
        attributions=AttributedImages(methods=["gradient_input"]),
        search=search.model_dump_json(),
        device="cpu",
    )
    metrics, recommended = folder / "planted.parquet", folder / "recommended.parquet"
    named = {"variants": ["plain"], "extractors": ["transformer/0"]}
    measure_planted(metrics, recommended, [folder], [model.parent], **named, codes=64)
    return [row for row in read_table(metrics).to_pylist() if row["training"] == 0]


@pytest.mark.slow
def test_importance_finds_the_planted_positions(found):
    positions = values(found, what="positions", split="test", truth="planted", method="tis")
    assert positions[1, "precision"][0] > 4 * positions[1, "precision"][1]
    assert positions[4, "precision"][0] > 3 * positions[4, "precision"][1]


@pytest.mark.slow
def test_concept_level_tokens_are_the_planted_codes(found):
    codes = values(found, what="codes", method="tis", list="count", truth="planted")
    assert codes[3, "precision"][0] > 6 * codes[3, "precision"][1]
    frequent = values(found, what="codes", method="frequency", list="count", truth="planted")
    assert codes[3, "precision"][0] > frequent[3, "precision"][0]


@pytest.mark.slow
def test_the_codebook_search_finds_planted_codes(found):
    searched = values(found, what="codes", method="token_selection", truth="planted")
    assert searched[16, "precision"][0] > 3 * searched[16, "precision"][1]


# --- what the report says ----------------------------------------------------------------------------------------


def row(variant, extractor, what, truth, measure, value, chance, method="tis", n=1, split="test"):
    names = {"variant": variant, "extractor": extractor, "method": method, "what": what, "split": split}
    names["list"] = "count" if method in ("tis", "frequency") and what == "codes" else None
    estimate = {"measure": measure, "value": value, "low": value - 0.05, "high": value + 0.05, "chance": chance}
    return names | {"truth": truth, "n": n, "units": 40} | estimate


def rows_of(variant, extractor, right, found, unseen=None):
    """Rows of one extractor: its accuracy, in the test another, and the precision of all that it finds."""
    rows = [
        row(variant, extractor, "labels", None, "accuracy", share, 0.25, method=None, n=None, split=split)
        for split, share in (("validation", right), ("test", right if unseen is None else unseen))
    ]
    for truth in ("planted", "shortcut") if variant == "shortcut" else ("planted",):
        for split in ("validation", "test"):
            for n in (1, 4, 8):
                of = {"n": n, "split": split}
                rows.append(row(variant, extractor, "positions", truth, "precision", found, 0.125, **of))
                rows.append(row(variant, extractor, "positions", truth, "recall", found, n / 64, **of))
        for n in (1, 4, 8):
            for measure in ("precision", "recall"):
                rows.append(row(variant, extractor, "positions", truth, measure, 0.5, 0.125, method="occlusion", n=n))
        for method, share in (("tis", found), ("frequency", 0.1)):
            for n in (1, 2) if truth == "shortcut" else (1, 4, 8):  # one code, or four
                of = {"n": n, "split": "validation", "method": method}
                rows.append(row(variant, extractor, "codes", truth, "precision", share / n, 0.03 / n, **of))
        for method in ("token_selection", "embedding"):
            rows.append(row(variant, extractor, "codes", truth, "precision", found, 0.03, method=method, n=16))
    return rows


def ranking(method, precision, low, high, difference=0.0):
    """A row of the recommended methods; of 36 trainings, 7 learned nothing."""
    of = {"method": method, "precision": precision, "low": low, "high": high, "chance": 0.125}
    of |= {"precision_all": 0.75 * precision, "trainings": 36, "left_out": 7}
    return of | {"difference": difference, "difference_low": difference - 0.1, "difference_high": difference + 0.1}


@pytest.mark.parametrize(
    ("ranked", "end"),
    [
        ([ranking("tis", 0.5, 0.4, 0.6), ranking("occlusion", 0.4, 0.3, 0.5)], "12.5 %). No other method finds more."),
        ([ranking("occlusion", 0.5, 0.4, 0.6, 0.05), ranking("tis", 0.45, 0.3, 0.5)], "The difference can be chance."),
        ([ranking("occlusion", 0.2, 0.1, 0.3, 0.15), ranking("tis", 0.05, 0, 0.1)], "No method is above chance."),
    ],
)
def test_a_method_is_recommended_only_where_it_finds_more(ranked, end):
    left_out = " Left out: 7 of 36 trainings, which classify these grids no better than guessing."
    told = section(rows_of("plain", "cnn", right=1.0, found=0.15), ranked, []).answers["reliability"]
    assert told.replace("\xa0", " ").endswith(end + left_out) and "recommended" not in told


def test_no_method_is_recommended_where_nothing_was_learned():
    nothing = ("precision", "low", "high", "difference", "difference_low", "difference_high")
    ranked = [ranking("tis", 0.5, 0.4, 0.6) | dict.fromkeys(nothing) | {"precision_all": 0.1, "left_out": 36}]
    topic = section(rows_of("plain", "cnn", right=0.2, found=0.15), ranked, [])
    assert topic.answers["reliability"].endswith("classifies better than guessing: no method is recommended.")
    assert [cell.text for cell in topic.tables[0][2].rows[0]] == ["tis", "–", "–", "0.125", "0.10"]


def kind_row(kind, codes, named, right_classes=None, **shares):
    """A row of the scores of kinds; a share that is not given is null."""
    row = {"variant": "plain", "kind": kind, "codes": codes, "named": named, "right_classes": right_classes}
    for name in ("precision", "recall"):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), shares.get(name, (None,) * 3), strict=True))
    return row


KINDS = [
    kind_row("marks a class", 4, 3, right_classes=1.0, precision=(1.0, 1.0, 1.0), recall=(0.75, 0.25, 1.0)),
    kind_row("shared by classes", 0, 1, precision=(0.0, 0.0, 0.0)),
]


def test_the_report_names_where_methods_fail():
    rows = [
        *rows_of("plain", "cnn", right=1.0, found=0.15),
        *rows_of("plain", "transformer", right=1.0, found=0.6),
        *rows_of("shortcut", "cnn", right=0.98, found=0.3, unseen=0.6),
        *rows_of("combination", "cnn", right=0.27, found=0.15),
    ]
    ranked = [ranking("occlusion", 0.5, 0.4, 0.6, difference=0.2), ranking("tis", 0.3, 0.05, 0.45)]
    topic = section(rows, ranked, KINDS)
    assert topic.answers["reliability"].replace("\xa0", " ") == (
        "On synthetic grids with known ground truth, 50 % of the positions that occlusion finds most important hold a "
        "token of the class (tis: 30 %; chance: 12.5 %). So occlusion is the recommended method there; the run's own "
        "images have no known truth. Left out: 7 of 36 trainings, which classify these grids no better than guessing."
    )
    said = [(finding.headline.replace("\xa0", " "), " ".join(finding.details)) for finding in topic.findings]
    assert "as many positions as are planted: 15.0 % (cnn), 60.0 % (transformer)." in said[0][0]
    assert "Chance: 12.5 %." in said[0][0]
    assert said[0][1] == "Not above chance: cnn."
    assert said[1][0].endswith(
        "other attributions of the same logits: cnn occlusion 50.0 %; transformer occlusion 50.0 %. An attribution "
        "finds more than tis, with separate intervals, for cnn."
    )
    said.pop(1)
    assert "concept-level tokens that mark the class: 3.8 % (cnn), 15.0 % (transformer);" in said[1][0]
    assert "of the most frequent tokens: 2.5 %." in said[1][0]
    assert "cnn 98.0 % → 60.0 %" in said[2][0]
    assert "first concept-level token of a class in 30.0 % (cnn) of the classes" in said[2][0]
    assert said[3][0].startswith("Variant combination") and said[3][1] == "Not above chance: cnn."
    assert said[-1][1] == "Not above chance: cnn (combination)."
    methods, positions, codes, kinds = (table for _, _, table in topic.tables)
    assert [cell.text for cell in methods.rows[0]] == [
        "occlusion",
        "0.50 (0.40 to 0.60)",
        "0.20 (0.10 to 0.30)",
        "0.125",
        "0.38",
    ]
    assert [row[1].best for row in methods.rows] == [True, False] and methods.rows[1][2].text == "–"
    assert [cell.text for cell in positions.rows[0][:4]] == ["plain", "cnn", "tis", "planted"]
    assert [row[6].best for row in positions.rows] == [False, True, True, True, True, True, True, True, False, True]
    assert [cell.text for cell in codes.rows[1][:3]] == ["plain", "transformer", "planted"]
    shortcut = next(cells for cells in codes.rows if cells[2].text == "shortcut")
    assert [cell.value for cell in shortcut[3:]] == [0.3, 0.1, 0.3, 0.3, 0.03]
    assert [cell.value for cell in codes.rows[1][3:]] == [0.15, 0.025, 0.6, 0.6, 0.03 / 4]
    assert [[cell.text.replace("\xa0", " ") for cell in row] for row in kinds.rows] == [
        ["plain", "marks a class", "4", "3", "1.00 (1.00 to 1.00)", "0.75 (0.25 to 1.00)", "100.0 %"],
        ["plain", "shared by classes", "0", "1", "0.00 (0.00 to 0.00)", "–", "–"],
    ]


# --- in the workflow ---------------------------------------------------------------------------------------------


def test_the_run_measures_what_it_planted(controlled_run):
    results = controlled_run / "results" / "tiny"
    rows = read_table(results / "metrics" / "planted.parquet").to_pylist()
    assert {(row["extractor"], row["training"]) for row in rows} == {("transformer", n) for n in (0, 1, None)}
    methods = {"tis", "gradient_input", "occlusion", "frequency", "token_selection", "embedding"}
    assert {row["method"] for row in rows} == {None, *methods}
    assert {row["truth"] for row in rows} == {None, "planted", "shortcut"}
    ranked = read_table(results / "studies" / "planted" / "recommended.parquet").to_pylist()
    assert [row["rank"] for row in ranked] == [1, 2, 3]
    assert {row["method"] for row in ranked} == {"tis", "gradient_input", "occlusion"}
    assert "Planted codes" in (results / "report.html").read_text()


def test_it_is_a_target_by_itself_and_nothing_where_it_is_not_asked_for(controlled_run, tiny_run):
    again = snakemake(controlled_run, "--dry-run", "planted", "--forceall")
    jobs = {
        "plant": 1,
        "train_planted": 2,
        "explain_planted": 2,
        "planted_metrics": 1,
        "planted_kinds": 1,
        "planted": 1,
    }
    assert jobs_in(again) == jobs
    assert not (tiny_run / "results" / "tiny" / "studies" / "planted").exists()
