"""Sanity: randomised and misled extractors, rank correlation against scipy, and the fall that scores must show."""

import shutil

import numpy as np
import pytest
import torch
from scipy import stats

from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.packed import packed_dtype, read_packed
from cortex.data.shard_reader import Sample
from cortex.explain.rank_agreement import own_rank_correlation, rank_correlation, top_overlap
from cortex.explain.scores import explain_shard
from cortex.explain.settings import Importance
from cortex.extractors.network import build_extractor, load_extractor, save_extractor, untrained_extractor
from cortex.report.results import claims
from cortex.studies.run import run_study
from cortex.studies.sanity import STUDY
from cortex.studies.sanity import page as topic
from cortex.studies.sanity.randomise import even_share, randomise_from_output, weight_layers
from cortex.studies.sanity.settings import Sanity
from cortex.studies.sanity.shuffled import shuffle_labels
from cortex.studies.summary import summarise
from tests.pipeline import change_config, jobs_in, made
from tests.tables import write_samples
from tests.training import run_training

SETTINGS = {
    "cnn": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "hidden": 16},
    "resnet": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 16, "hidden": 16},
    "transformer": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "layers": 2, "heads": 2, "mlp": 16},
}
BLOCKS = [f"layer{stage}.{block}" for stage in (1, 2) for block in range(3)]
LAYERS = {
    "cnn": [*(f"conv{stage}_{layer}" for stage in (1, 2) for layer in range(1, 5)), "fc1", "fc2", "fc3"],
    "resnet": [*BLOCKS, "fc1", "fc2"],
    "transformer": ["proj.0", "encoder.0", "encoder.1", "pre_classifier.0", "fc"],
}


def test_rank_correlation_is_scipys_image_by_image():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, (5, 16)).astype(np.float32), rng.normal(size=(5, 16))  # with ties, and without
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(np.ones((1, 4)), np.arange(4.0)[None]).tolist() == [0]


def test_what_all_images_share_is_not_an_images_own():
    rng = np.random.default_rng(1)
    shared = 100 * (np.arange(64) % 2)  # as of strides: every second position before all others
    one, other = rng.normal(size=(40, 64)) + shared, rng.normal(size=(40, 64)) + shared
    assert rank_correlation(one, other).mean() == pytest.approx(0.75, abs=0.02)  # of two halves in order
    assert own_rank_correlation(one, other).mean() == pytest.approx(0, abs=0.03)
    assert own_rank_correlation(one, one) == pytest.approx(np.ones(40))


def test_overlap_and_even_share_by_hand():
    one, other = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4]]), np.array([[4.0, 1, 3, 2], [4, 3, 2, 1]])
    assert top_overlap(one, other, 2).tolist() == [0.5, 0]
    assert even_share(one, 2, 1).tolist() == [1, 0]  # the first of 2 × 2 positions, the last
    assert even_share(one, 2, 2).tolist() == [0.5, 0]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_weight_belongs_to_one_layer_and_layers_go_from_input_to_output(name):
    network = build_extractor(name, **SETTINGS[name])
    layers = weight_layers(network)
    assert list(layers) == LAYERS[name]
    assert sorted(weight for weights in layers.values() for weight in weights) == sorted(network.state_dict())


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_are_replaced_from_the_output_down(tmp_path, name):
    torch.manual_seed(1)
    network = build_extractor(name, **SETTINGS[name])
    network.train()(torch.randn(16, 5, 8, 8))
    with torch.no_grad():  # so that no weight is what a new one is
        for weight in network.state_dict().values():
            weight.add_(1)
    save_extractor(tmp_path / "model.safetensors", name, SETTINGS[name], network.state_dict())
    cpu = torch.device("cpu")
    trained = load_extractor(tmp_path / "model.safetensors", cpu)
    untrained = untrained_extractor(tmp_path / "model.safetensors", cpu, 5)
    before = {weight: values.clone() for weight, values in trained.state_dict().items()}
    new, replaced = untrained.state_dict(), set()
    for layer, expected in zip(
        randomise_from_output(trained, untrained), reversed(weight_layers(network)), strict=True
    ):
        assert layer == expected
        replaced |= set(weight_layers(network)[layer])
        for weight, values in trained.state_dict().items():
            assert torch.equal(values, new[weight] if weight in replaced else before[weight]), weight
    embeddings = torch.randn(3, 5, 8, 8)
    assert torch.equal(trained(embeddings), untrained(embeddings))
    torch.manual_seed(5)
    expected = build_extractor(name, **SETTINGS[name]).state_dict()
    assert all(torch.equal(values, new[weight]) for weight, values in expected.items())


def test_shuffled_labels_are_the_same_labels_of_the_same_grids_in_another_order(tmp_path):
    packed = np.zeros(500, packed_dtype((2, 3)))
    packed["label"], packed["grid"] = np.arange(500) % 5, np.arange(3000).reshape(500, 2, 3)
    np.save(tmp_path / "grids.npy", packed)
    shuffled = []
    for place, seed in enumerate((0, 0, 1)):
        shuffle_labels(tmp_path / f"{place}.npy", tmp_path / "grids.npy", seed=seed)
        shuffled.append(read_packed(tmp_path / f"{place}.npy"))
    assert np.array_equal(shuffled[0]["grid"], packed["grid"])
    assert np.bincount(shuffled[0]["label"]).tolist() == [100] * 5
    assert np.mean(shuffled[0]["label"] == packed["label"]) == pytest.approx(1 / 5, abs=0.06)
    assert np.array_equal(shuffled[0], shuffled[1])
    assert not np.array_equal(shuffled[0]["label"], shuffled[2]["label"])


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """An extractor that has learned which code stands for a class, at any position; one of shuffled labels; images."""
    folder = tmp_path_factory.mktemp("learned")
    rng = np.random.default_rng(4)

    def images(count):
        labels = np.arange(count) % 3
        grids = rng.integers(3, 9, (count, 64))
        places = rng.random((count, 64)).argsort(1)[:, :8]
        np.put_along_axis(grids, places, labels[:, None], 1)
        return labels, grids.reshape(-1, 8, 8).astype(np.uint16)

    data = {"codebook": folder / "codebook.safetensors"}
    write_weights(data["codebook"], {"codebook": torch.randn(9, 5, generator=torch.Generator().manual_seed(2))}, {})
    for name, count in (("train", 600), ("validation", 60)):
        packed = np.empty(count, packed_dtype((8, 8)))
        packed["label"], packed["grid"] = images(count)
        data[name] = folder / f"{name}.npy"
        np.save(data[name], packed)
    shuffle_labels(folder / "shuffled.npy", data["train"], seed=0)
    settings = {"epochs": 8, "batch": 16, "step_epochs": 6}
    model, history = run_training(folder, data, "cnn", **settings)
    misled = data | {"train": folder / "shuffled.npy", "validation": folder / "shuffled.npy"}
    (folder / "misled").mkdir()
    shuffled, _ = run_training(folder / "misled", misled, "cnn", **settings)
    assert max(history["val_top1"].to_pylist()) > 0.95
    samples = [
        Sample(f"test-{label}-{place:03d}", int(label), grid)
        for place, (label, grid) in enumerate(zip(*images(30), strict=True))
    ]
    tokens = write_samples(folder / "tokens.parquet", samples)
    importance = Importance(samples=10)
    explain_shard(folder / "importance.parquet", tokens, model, data["codebook"], settings=importance, device="cpu")
    return folder, model, shuffled, data["codebook"]


def run(output, learned, settings, importance, scores="importance", **options):
    folder, model, _, codebook = learned
    run_study(
        output,
        scores=[folder / f"{scores}.parquet"],
        extractor=model,
        codebook=codebook,
        settings=Sanity(study="sanity", **settings),
        importance=Importance(**importance).model_dump_json(),
        device="cpu",
        **options,
    )
    return read_table(output)


@pytest.mark.slow
def test_scores_fall_with_what_was_learned(learned, tmp_path):
    extra = (f"shuffled={learned[2]}",)
    rows = run(tmp_path / "rows.parquet", learned, {"images_per_class": 10}, {"samples": 10}, extra=extra)
    assert len(rows) == 30 * 3 * (1 + 1 + len(LAYERS["cnn"]))
    summarise(tmp_path / "sanity.parquet", [tmp_path / "rows.parquet"], extractors=["cnn/2"], by=list(STUDY.by))
    table = read_table(tmp_path / "sanity.parquet").to_pylist()
    assert {(row["extractor"], row["training"]) for row in table} == {("cnn", 2), ("cnn", None)}
    means = claims(table)
    at = {(row["test"], row["step"], row["measure"]): row for row in means}
    known, steps = at["trained", 0, "own_correlation"], len(LAYERS["cnn"])
    assert known["low"] > 0.2
    assert known["images"] == 30
    for place in (("randomised", steps), ("shuffled", 0)):
        assert at[*place, "own_correlation"]["value"] < 0.15, place
        for measure in ("own_correlation", "correlation"):
            assert at[*place, measure]["high"] < at["trained", 0, measure]["low"], (place, measure)
    section = topic.section(means)
    assert "With all weights new" in section.findings[0].headline
    assert not any("intervals overlap" in detail for finding in section.findings for detail in finding.details)
    assert [len(table.rows) for *_, table in section.tables] == [3, steps]


@pytest.mark.slow
def test_scores_of_another_attribution_are_compared_with_scores_of_the_same(learned, tmp_path):
    """Without noise, the trained extractor gives the very same scores; new weights do not."""
    folder, model, _, codebook = learned
    importance = {"settings": Importance(), "method": "gradient_input", "device": "cpu"}
    explain_shard(folder / "gradient_input.parquet", folder / "tokens.parquet", model, codebook, **importance)
    named = {"scores": "gradient_input", "attribution": "gradient_input"}
    rows = run(tmp_path / "rows.parquet", learned, {"images_per_class": 3}, {}, **named).to_pylist()
    found = [row for row in rows if row["measure"] == "correlation"]
    assert [row["value"] for row in found if row["test"] == "trained"] == pytest.approx([1] * 9, abs=1e-3)
    assert np.mean([row["value"] for row in found if row["step"] == len(LAYERS["cnn"])]) < 0.5


@pytest.mark.slow
def test_the_same_extractor_and_seed_give_the_same_rows(learned, tmp_path):
    one, other = (
        run(tmp_path / f"{batch}.parquet", learned, {"images_per_class": 2}, {"samples": 2, "batch": batch})
        for batch in (2, 5)
    )
    assert one.drop_columns("value").equals(other.drop_columns("value"))
    assert one["value"].to_pylist() == pytest.approx(other["value"].to_pylist(), abs=0.02)  # batches round otherwise


def test_shuffled_extractors_are_those_of_the_run(fitting):
    fitting["extractors"] = {"cnn": {"network": "cnn", "seeds": 2}, "wide": {"network": "cnn", "seeds": 1}}
    settings = {"images_per_class": 2, "top_n": 16, "shuffled": ["wide"]}
    config, _ = parse_config(fitting | {"studies": {"sanity": settings}})
    found = {word: STUDY.extra(config.studies["sanity"], word) for word in config.extractor_trainings()}
    model = "studies/sanity/shuffled/wide/0/model.safetensors"
    assert found == {"cnn/0": {}, "cnn/1": {}, "wide/0": {"shuffled": model}}
    for changes, message in (
        ({"shuffled": ["resnet"]}, "shuffled = 'resnet': allowed: the run's extractors, cnn, wide"),
        ({"top_n": 17}, "top_n = 17: at most 16, the positions of the grid"),
        ({"images_per_class": 51}, "images_per_class = 51: at most data.per_class.test = 50"),
    ):
        with pytest.raises(InputError, match=f"^config: studies.sanity.{message}"):
            parse_config(fitting | {"studies": {"sanity": settings | changes}})


def test_the_pipeline_looks_at_every_extractor(controlled_run):
    results = controlled_run / "results" / "tiny"
    rows = claims(read_table(results / "metrics" / "sanity.parquet").to_pylist())
    assert {row["extractor"] for row in rows} == {"cnn", "resnet", "transformer"}
    assert {row["extractor"] for row in rows if row["test"] == "shuffled"} == {"cnn"}
    steps = {row["extractor"]: row["step"] for row in rows if row["test"] == "randomised"}  # the last of each
    assert steps == {"cnn": 11, "resnet": 8, "transformer": 4}
    assert all(row["images"] == 3 * 2 and row["low"] <= row["value"] <= row["high"] for row in rows)
    shuffled = read_packed(results / "studies" / "sanity" / "shuffled" / "grids.npy")
    packed = read_packed(results / "data" / "train" / "grids.npy")
    assert np.array_equal(shuffled["grid"], packed["grid"])
    page = (results / "report.html").read_text()
    assert "Do the scores depend on what was learned?" in page


def test_one_more_extractor_on_shuffled_labels_leaves_the_others(controlled_run, tmp_path):
    config = tmp_path / "more.yaml"
    shutil.copy2(controlled_run / "tests" / "tiny.yaml", config)
    change_config(config, {"studies": {"sanity": {"shuffled": ["cnn", "resnet"]}}})
    planned = made(controlled_run, "--dry-run", "--configfile", str(config))
    assert jobs_in(planned) == {"train_shuffled": 1, "study": 1, "study_metrics": 1, "report": 1}
    assert "Compute study sanity for resnet/0" in planned.stdout + planned.stderr
