"""Runs with parts of other packages, and runs without judges or a decoder."""

import re
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import cortex
from cortex.core.weights import read_weights, write_weights
from cortex.data.shard_reader import read_shard
from cortex.extractors.names import join_name
from tests.onnx_models import write_linear
from tests.pipeline import CHECKOUT, change_config, copy_checkout, jobs_in, made, snakemake
from tests.toy_generator import SPEC, ToyGenerator

TINY = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
CNN, VIT = TINY["extractors"]["cnn"], TINY["judges"]["vit"]
MLP = {"network": "methods:MLP", "seeds": 1, "hidden": 16, "epochs": 2, "batch": 8}
ONE_SHARD = {"shard_size": 36}
FREQUENT = {"study": "study:STUDY", "n": [1, 4]}
LEVELS = {"image_level", "concept_level", "codebook_level"}


def checkout(folder, name, **parts):
    """A checkout whose tiny config has this name and other parts; a shard a split."""
    copy_checkout(folder)
    path = folder / "tests" / "tiny.yaml"
    change_config(path, {"run": name, "data": ONE_SHARD})
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | parts))
    return folder


def tables_of(results):
    return {path.stem: pd.read_parquet(path) for path in (results / "metrics").glob("*.parquet")}


def trainings_in(table):
    """Trained extractors of a table, as in file names; without the rows over all trainings."""
    rows = table[table["training"].notna()]
    return set(map(join_name, rows["extractor"], rows["training"].astype(int)))


def text_of(page):
    """The words of a page, without its tags."""
    return " ".join(re.sub("<[^>]*>", " ", page.read_text()).split())


# --- everything of other packages -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def external(tmp_path_factory):
    """A run of the toy generator, whose module lies in the working directory, and of a package on PYTHONPATH.

    The package has an extractor, a judge, an attribution and a study. The checkout, and the package's folder.
    """
    folder = checkout(
        tmp_path_factory.mktemp("external"),
        "external",
        generator={"family": "toy_generator:FAMILY", "top_k": None},
        extractors={"cnn": CNN | {"seeds": 2}, "mlp": MLP},
        importance=TINY["importance"] | {"method": ["tis", "methods:absolute_gradient"]},
        judges={
            "vit": VIT | {"class_names": "toys.txt"},
            "colour": {"network": "methods:MeanColour", "weights": "colours.safetensors", "class_names": "back.txt"},
            "mine": {"network": "onnx", "weights": "mine.onnx", "class_names": "back.txt", "size": 32},
        },
        studies={
            "attributions": {"methods": ["gradient_input", "methods:absolute_gradient"], "images_per_class": 2},
            "frequent": FREQUENT,
        },
    )
    plugin = shutil.copytree(CHECKOUT / "tests" / "plugin", tmp_path_factory.mktemp("site") / "plugin")
    shutil.copy2(CHECKOUT / "tests" / "toy_generator.py", folder)
    (folder / "toys.txt").write_text("\n".join(SPEC.class_names))
    (folder / "back.txt").write_text("\n".join(reversed(SPEC.class_names)))
    write_weights(folder / "colours.safetensors", {"prototypes": torch.from_numpy(prototypes())}, {})
    write_linear(folder / "mine.onnx", prototypes(), 32)
    made(folder, "full", modules=[plugin])
    return folder, plugin


def prototypes():
    """What judges of other people know of ten classes, the last class of the toys first: ``[10, 3]``."""
    return np.random.default_rng(0).uniform(-1, 1, (10, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def results(external):
    return external[0] / "results" / "external"


def test_grids_and_images_are_the_toys(results):
    model = ToyGenerator(torch.device("cpu"))
    for split, count in (("train", 36), ("validation", 18), ("test", 12)):
        samples = list(read_shard(results / "data" / split / "000000.tar", images=True, codes=SPEC.codes))
        assert len(samples) == count
        grids = np.stack([sample.grid for sample in samples]).astype(np.int64)
        assert grids.shape[1:] == SPEC.grid
        painted = model.decode(torch.from_numpy(grids)).numpy()
        assert np.array_equal(np.stack([sample.image for sample in samples]), painted)
        likelihoods = model.logits.log_softmax(-1)[:, torch.from_numpy(grids.reshape(count, -1))].sum(-1)
        assert likelihoods.argmax(0).tolist() == [sample.label for sample in samples]


def test_the_toys_codebook_is_what_extractors_read(results):
    codebook = read_weights(results / "generator" / "codebook.safetensors")[0]["codebook"]
    assert torch.equal(codebook, ToyGenerator(torch.device("cpu")).codebook)


def test_tables_hold_external_extractors_and_judges(results):
    tables = tables_of(results)
    trained = {"cnn/0", "cnn/1", "mlp/0"}
    of_networks = {"extractor_accuracy", "judge_accuracy", "agreement", "validity"}
    assert tables.keys() == {*LEVELS, *of_networks, "comparisons", "attributions", "frequent"}
    assert set(tables["validity"]["name"]) == {"cnn", "mlp", "vit", "colour", "mine"}
    expected = dict.fromkeys(("image_level", "concept_level", "comparisons"), trained | {"cnn/average"})
    expected["agreement"] = {"cnn/0"}  # with cnn/1, and with mlp/0
    for name, table in tables.items():
        if name not in ("judge_accuracy", "validity"):
            assert trainings_in(table) == expected.get(name, trained), name
        if "judge" in table:
            assert set(table["judge"].dropna()) == {"vit", "colour", "mine"}, name


def test_judges_of_other_people_read_classes_by_name(results):
    """The nearest prototype of an image's mean colour, and the largest product with it, of an ONNX model."""
    samples = {each.key: each for each in read_shard(results / "data" / "test" / "000000.tar", images=True)}
    for judge, score in (
        ("colour", lambda mean: -np.linalg.norm(2 * mean - 1 - prototypes(), axis=1)),
        ("mine", lambda mean: prototypes() @ mean),
    ):
        rows = pd.read_parquet(results / f"evaluation/judge_accuracy/{judge}.parquet").set_index("key")
        assert len(rows) == len(samples) == 12
        for key, sample in samples.items():
            best = score(sample.image.mean((0, 1)) / 255).argmax()
            assert rows.loc[key, "predicted"] == 9 - best, (judge, key)


def test_two_trainings_differ_in_weights_and_scores(results):
    first, second = (read_weights(results / f"extractors/cnn/{k}/model.safetensors")[0] for k in (0, 1))
    assert first.keys() == second.keys()
    assert not any(torch.equal(first[name], second[name]) for name in first if name.endswith("weight"))
    scores = [pd.read_parquet(results / f"importance/tis/cnn/{k}/test/000000.parquet") for k in (0, 1)]
    assert scores[0]["key"].equals(scores[1]["key"])
    assert not np.array_equal(*(np.stack(of["importance"]) for of in scores))
    accuracy = tables_of(results)["extractor_accuracy"]
    trainings = accuracy[accuracy["extractor"] == "cnn"]["training"]
    assert sorted(trainings.dropna()) == [0, 0, 1, 1] and trainings.isna().sum() == 2  # both, and all; of two k


def test_scores_are_averaged_over_trainings(results):
    for split in ("train", "test"):
        first, second, average = (
            np.stack(pd.read_parquet(results / f"importance/tis/cnn/{k}/{split}/000000.parquet")["importance"])
            for k in ("0", "1", "average")
        )
        expected = (first / first.std(1, keepdims=True) + second / second.std(1, keepdims=True)) / 2
        np.testing.assert_allclose(average, expected, rtol=1e-4)
    lists = pd.read_parquet(results / "tokens/tis/cnn/average.parquet")
    assert set(lists["label"]) == {1, 2, 7}
    assert not (results / "importance" / "tis" / "mlp" / "average").exists(), "one training has no average"


def test_claims_of_two_trainings_have_verdicts(results):
    comparisons = tables_of(results)["comparisons"]
    judged = comparisons[comparisons["verdict"].notna()]
    assert set(judged["extractor"]) == {"cnn"} and judged["training"].isna().all()
    pooled = comparisons[comparisons["training"].isna()]
    assert set(pooled["extractor"]) == {"cnn", "mlp"}


def test_an_external_attribution_is_ranked_beside_ours(results):
    table = tables_of(results)["attributions"]
    assert {"gradient_input", "methods:absolute_gradient", "tis"} <= set(table["method"])


def test_an_external_attribution_has_results_of_its_own(external, results, monkeypatch):
    """Its scores are those of its function; its concept tokens and evaluations stand beside the published ones."""
    monkeypatch.syspath_prepend(external[1])
    monkeypatch.setenv("CORTEX_NETWORKS", "methods:MLP")
    run = cortex.open_run(results)
    assert run.attributions == ["tis", "methods:absolute_gradient"]
    for name in ("cnn", "mlp"):
        scored = run.scores(name, method="methods:absolute_gradient")
        settings = cortex.Importance(samples=2, steps=4, batch=5)
        network, codebook = run.extractor(name), run.codebook()
        again = cortex.importance(network, codebook, scored, settings, method="methods:absolute_gradient", seed=1)
        np.testing.assert_allclose(again.scores["importance"], scored.scores["importance"], rtol=1e-4, atol=1e-7)
        assert not np.allclose(run.scores(name).scores["importance"], scored.scores["importance"])
        tokens = run.concept_tokens(name, method="methods:absolute_gradient")
        assert tokens.column_names == run.concept_tokens(name).column_names and tokens != run.concept_tokens(name)
    with pytest.raises(cortex.InputError, match="no attribution 'occlusion'; there are tis, methods:absolute_gradient"):
        run.scores("cnn", method="occlusion")
    with pytest.raises(cortex.InputError, match="split 'tset'; allowed: train, validation, test"):
        run.tokens("tset")
    for name, table in tables_of(results).items():
        if name in LEVELS | {"comparisons"}:
            expected = set() if name == "codebook_level" else {"tis", "methods:absolute_gradient"}
            assert set(table["attribution"].dropna()) == expected, name
    names = ["attribution", "method", "judge", "extractor", "training", "n"]
    image_level = tables_of(results)["image_level"].set_index(names)
    of = {name: image_level.loc[name]["probability_change"] for name in run.attributions}
    assert of["tis"].loc["random"].equals(of["methods:absolute_gradient"].loc["random"])
    assert not of["tis"].loc["importance"].equals(of["methods:absolute_gradient"].loc["importance"])


def test_an_external_study_has_rows_and_means(results):
    table = tables_of(results)["frequent"]
    for row in table.dropna(subset="training").itertuples():
        rows = pd.read_parquet(results / f"studies/frequent/{row.extractor}/{int(row.training)}.parquet")
        values = rows[rows["n"] == row.n]["value"]
        assert row.value == pytest.approx(values.mean(), abs=1e-6)
        assert len(values) == 2 * 3  # images of each of three classes
    assert sorted(set(table["n"])) == [1, 4]


def test_the_page_names_them(results):
    page = text_of(results / "report.html")
    assert "3 (toy 1, toy 2, toy 7)" in page and "codebook of 32 codes with 8 channels" in page
    assert "Not measured" not in page
    for name in (
        "cnn (2 trainings)",
        "mlp (1 training)",
        "colour",
        "methods:absolute_gradient",
        "The most frequent code",
    ):
        assert name in page, name


def test_a_second_run_does_nothing(external):
    folder, plugin = external
    again = made(folder, modules=[plugin])
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_change_of_an_external_network_reruns_its_own_jobs(external, tmp_path):
    folder, plugin = external
    changed = shutil.copytree(plugin, tmp_path / "plugin")
    methods = (changed / "methods.py").read_text()
    (changed / "methods.py").write_text(methods.replace("self.first(embeddings.flatten(1)).relu()", "0", 1))
    jobs = jobs_in(made(folder, "--dry-run", modules=[changed]))
    assert (jobs["train_extractor"], jobs["importance"], jobs["study"]) == (1, 4, 1)
    assert not {"train_judge", "pretrained_judge", "generate_shard", "judge_accuracy"} & jobs.keys()


def test_entry_points_name_the_same_parts(external, tmp_path):
    """The network is trained in a copy of the run, where the grids are kept as they are."""
    folder, plugin = external
    site = tmp_path / "site"
    shutil.copytree(plugin, site)
    (site / "methods-1.0.dist-info").mkdir()
    (site / "methods-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: methods\nVersion: 1.0\n")
    (site / "methods-1.0.dist-info" / "entry_points.txt").write_text(
        "[cortex.extractors]\nmlp = methods:MLP\n"
        "[cortex.judges]\ncolour = methods:MeanColour\n"
        "[cortex.attributions]\nabsolute_gradient = methods:absolute_gradient\n"
        "[cortex.studies]\nfrequent = study:STUDY\n"
    )
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, symlinks=True)
    settings = yaml.safe_load((copy / "tests" / "tiny.yaml").read_text())
    settings["extractors"] = {"mlp": MLP | {"network": "mlp"}}
    settings["judges"] = {"colour": {"network": "colour"}}
    settings["studies"] = {
        "attributions": {"methods": ["gradient_input", "absolute_gradient"], "images_per_class": 2},
        "frequent": {"n": [1, 4]},
    }
    (copy / "tests" / "tiny.yaml").write_text(yaml.safe_dump(settings))
    refused = snakemake(copy, "--dry-run", modules=[plugin])
    assert "config: extractors.mlp.network = 'mlp': allowed: cnn, cnn_deep, " in refused.stdout + refused.stderr
    planned = jobs_in(made(copy, "--dry-run", modules=[site]))
    assert planned.keys() >= {"train_extractor", "pretrained_judge", "attributions", "study"}
    done = made(copy, "results/external/metrics/frequent.parquet", modules=[site])
    assert jobs_in(done) == {"train_extractor": 1, "importance": 1, "study": 1, "study_metrics": 1}
    assert trainings_in(pd.read_parquet(copy / "results/external/metrics/frequent.parquet")) == {"mlp/0"}


# --- extractors without judges ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unjudged(tmp_path_factory):
    """A run of an extractor and a study without judges; the folder of its results."""
    folder = checkout(
        tmp_path_factory.mktemp("unjudged"),
        "unjudged",
        extractors={"cnn": CNN},
        judges=None,
        studies={"frequent": FREQUENT},
    )
    made(folder, "full", modules=[CHECKOUT / "tests" / "plugin"])
    return folder / "results" / "unjudged"


def explained(results, positions, classes):
    """Check what a run explains without judges: importance, concept tokens, codebook search."""
    for split in ("train", "test"):
        table = pq.read_table(results / f"importance/tis/cnn/0/{split}/000000.parquet").to_pandas()
        assert np.stack(table["importance"]).shape == (len(table), positions)
    assert set(pd.read_parquet(results / "tokens/tis/cnn/0.parquet")["label"]) == classes
    assert set(pd.read_parquet(results / "tokens/frequency.parquet")["label"]) == classes
    assert {"token_selection", "embedding"} <= set(pd.read_parquet(results / "codebook/cnn/0.parquet")["method"])
    assert not (results / "judges").exists()


def test_a_run_without_judges_explains(unjudged):
    explained(unjudged, 64, {1, 2, 7})
    tables = tables_of(unjudged)
    assert tables.keys() == {"extractor_accuracy", "validity", "frequent"}
    assert {path.name for path in (unjudged / "evaluation").iterdir()} == {"extractor_accuracy"}


def test_its_page_says_what_is_left_out(unjudged):
    page = text_of(unjudged / "report.html")
    assert page.count("Not measured. The run has no judges.") == 3
    assert "Top-1 accuracy on the tokens" in page and "The most frequent code" in page
    assert "most important tokens" in page and "Judges classify" not in page
    figures = {path.name for path in (unjudged / "figures").iterdir()}
    assert figures == {"training.svg", "samples.png", "importance.png"}


def test_a_study_that_needs_judges_is_refused_in_one_line(tmp_path):
    folder = checkout(tmp_path, "refused", judges=None, studies={"attributions": {}})
    done = snakemake(folder, "--dry-run")
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if "studies" in line]
    assert said == ["config: studies.attributions: it needs judges, and the run has none"]


# --- a codebook alone -------------------------------------------------------------------------------------------


def codebook_run(folder, name, imports, **parts):
    """A run of imported grids of 4×4 of 24 codes and three classes; the folder of its results, and the grids by split.

    Code 20 + label stands at four positions of every grid.
    """
    counts, rng = {"train": 12, "validation": 6, "test": 4}, np.random.default_rng(0)
    generator = {"family": "codebook", "weights": "codebook.safetensors", "class_names": "names.txt", "grid": [4, 4]}
    checkout(
        folder,
        name,
        generator=generator,
        data={"per_class": counts} | imports(counts),
        extractors={"cnn": CNN},
        codebook_search=TINY["codebook_search"]
        | {"region": {"top": 1, "left": 1, "height": 2, "width": 2}, "pairs": {0: 2}},
        **parts,
    )
    codebook = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    write_weights(folder / "codebook.safetensors", {"codebook": codebook}, {})
    (folder / "names.txt").write_text("ant\nbee\ncat\n")
    grids = {}
    for split, count in counts.items():
        labels = np.tile(np.arange(3), count)
        grids[split] = rng.integers(0, 20, (len(labels), 16))
        grids[split][:, rng.permutation(16)[:4]] = 20 + labels[:, None]
        np.save(folder / f"{split}.npy", grids[split].reshape(-1, 4, 4))
        np.save(folder / f"{split}_labels.npy", labels)
    return folder / "results" / name, grids


@pytest.fixture(scope="module")
def codebook_alone(tmp_path_factory):
    """A run of imported grids, without decoder and judges; the folder of its results."""
    folder = tmp_path_factory.mktemp("codebook")
    results, _ = codebook_run(
        folder,
        "codebook",
        lambda splits: {
            "images": dict.fromkeys(splits, "none"),
            "imports": {split: {"source": f"{split}.npy", "labels": f"{split}_labels.npy"} for split in splits},
        },
        judges=None,
    )
    made(folder)
    return results


def test_a_codebook_alone_explains_imported_grids(codebook_alone):
    explained(codebook_alone, 16, {0, 1, 2})
    grids = np.load(codebook_alone.parent.parent / "train.npy")
    samples = read_shard(codebook_alone / "data" / "train" / "000000.tar", images=False, codes=24)
    assert np.array_equal(np.stack([sample.grid for sample in samples]), grids)
    assert tables_of(codebook_alone).keys() == {"extractor_accuracy", "validity"}


def test_it_has_no_images(codebook_alone):
    pictures = [path for path in codebook_alone.rglob("*") if path.suffix in (".png", ".jpg", ".webp")]
    assert not pictures and not (codebook_alone / "data" / "test" / "images").exists()
    assert all(sample.image is None for sample in read_shard(codebook_alone / "data/test/000000.tar", images="any"))


def test_its_page_says_what_is_missing(codebook_alone):
    page = text_of(codebook_alone / "report.html")
    assert page.count("Not measured. The run has no judges.") == 3
    assert "Classes and their tokens" in page and "the 5 positions of highest importance" in page
    assert "3 (ant, bee, cat)" in page and "imported" in page
    assert not re.search("Judges classify|[Pp]atch|by the generator|First test image", page)


# --- a codebook, grids and pictures -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_pictures(tmp_path_factory):
    """A run of imported grids beside pictures of 8×12 pixels, whose tokens have colours; results, pictures of test."""
    folder = tmp_path_factory.mktemp("given")
    results, grids = codebook_run(
        folder,
        "given",
        lambda splits: {
            "imports": {
                split: {"source": f"{split}.npy", "labels": f"{split}_labels.npy", "pictures": f"{split}_pictures.npy"}
                for split in splits
            }
        },
        judges={"mine": {"network": "onnx", "weights": "mine.onnx", "class_names": "back.txt", "size": 12}},
        studies={"attributions": {"methods": ["gradient_input"], "images_per_class": 2}},
        evaluation=TINY["evaluation"] | {"accuracy": {"k": [1]}},
    )
    (folder / "back.txt").write_text("cat\nbee\nant\n")
    write_linear(folder / "mine.onnx", prototypes()[:3], 12)
    colours = np.random.default_rng(1).integers(0, 256, (24, 3), np.uint8)
    pictures = {split: colours[of.reshape(-1, 4, 4)].repeat(2, 1).repeat(3, 2) for split, of in grids.items()}
    for split, shown in pictures.items():
        np.save(folder / f"{split}_pictures.npy", shown)
    made(folder, "full")
    return results, pictures["test"]


def test_given_pictures_are_judged_and_masked(with_pictures):
    results, pictures = with_pictures
    images = np.load(results / "data" / "test" / "images" / "000000.npy")
    assert np.array_equal(images, pictures)
    tables = tables_of(results)
    judged = {"image_level", "concept_level", "comparisons", "judge_accuracy"}
    assert tables.keys() == judged | {"extractor_accuracy", "validity", "attributions"}
    rows = pd.read_parquet(results / "evaluation/judge_accuracy/mine.parquet")
    means = pictures.mean((1, 2)) / 255
    assert rows["predicted"].tolist() == (2 - (means @ prototypes()[:3].T).argmax(1)).tolist()


def test_masks_are_painted_on_the_given_pictures(with_pictures):
    """Against the judge's weights: the mean colour without the tiles of highest importance, of one token each."""
    results, pictures = with_pictures
    (path,) = (results / "evaluation/image_level/tis/cnn/0/mine").glob("*.parquet")
    rows = pd.read_parquet(path).query("method == 'importance' and n == 1").set_index("key")
    scores = pd.read_parquet(results / "importance/tis/cnn/0/test/000000.parquet")
    for place, row in enumerate(scores.itertuples()):
        masked = row.tokens == row.tokens[np.argmax(row.importance)]  # a token is masked wherever its code stands
        black = pictures[place] * ~masked.reshape(4, 4).repeat(2, 0).repeat(3, 1)[..., None]
        logits = prototypes()[:3] @ np.stack([pictures[place].mean((0, 1)), black.mean((0, 1))], 1) / 255
        change = logits[2 - row.label, 1] - logits[2 - row.label, 0]
        assert rows.loc[row.key, "logit_change"] == pytest.approx(change, abs=1e-4)


def test_the_page_names_what_needs_a_decoder(with_pictures):
    results, _ = with_pictures
    page = text_of(results / "report.html")
    assert page.count("Not measured. The run has no decoder.") == 1
    assert "Judges classify" in page and "imported" in page
    figures = {path.name for path in (results / "figures").iterdir()}
    assert {"samples.png", "importance.png", "masking_by_n.svg"} <= figures
    assert not {"reconstruction.png", "codebook_level.svg", "codebook_search.mine.png"} & figures
