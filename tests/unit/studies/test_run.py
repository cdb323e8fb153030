"""The generic study command, by a study of another package: from the config to its metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from cortex.app.cli import main
from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.decoded import decode_images
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import read_tokens
from cortex.evaluate.estimates import over_trainings
from cortex.explain.settings import Importance
from cortex.extractors.network import build_extractor, save_extractor
from cortex.studies import STUDIES, load_study, study_commands, study_settings
from cortex.studies.inputs import StudyInputs
from cortex.studies.run import run_study
from tests.plugin.study import STUDY, Frequent
from tests.tables import write_samples

OUTSIDE = "tests.plugin.study:STUDY"
NETWORK = {"channels": 5, "classes": 3, "grid": (4, 4), "width": 8, "hidden": 16}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two importance files of six images each, their images, an extractor and a codebook."""
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    samples = [
        Sample(
            f"k{place:02d}",
            place % 3,
            rng.integers(0, 6, (4, 4)).astype(np.uint16),
            rng.integers(0, 256, (8, 8, 3)).astype(np.uint8),
        )
        for place in range(12)
    ]
    scores, images = [], []
    for place, part in enumerate((samples[:6], samples[6:])):
        importance = rng.normal(size=(6, 16)).astype(np.float32)
        scores.append(write_samples(folder / f"{place}.parquet", part, importance=importance))
        write_shard(folder / f"{place}.tar", part)
        images.append(folder / f"{place}.npy")
        decode_images(images[-1], folder / f"{place}.tar")
    save_extractor(folder / "model.safetensors", "cnn", NETWORK, build_extractor("cnn", **NETWORK).state_dict())
    write_weights(folder / "codebook.safetensors", {"codebook": torch.randn(6, 5)}, {})
    paths = {"extractor": folder / "model.safetensors", "codebook": folder / "codebook.safetensors"}
    return samples, {"scores": scores, **paths}, images


def shares(samples, scores, per_class, n):
    """The values of the study from outside, image by image."""
    chosen, values = samples[: 3 * per_class], {}
    importance = read_tokens(scores, ["importance"]).scores["importance"]
    for place, sample in enumerate(chosen):
        codes = [code for other in chosen if other.label == sample.label for code in other.grid.ravel().tolist()]
        frequent = max(sorted(set(codes)), key=codes.count)
        best = sorted(range(16), key=lambda position: -importance[place][position])[:n]
        values[sample.key] = np.mean([sample.grid.ravel()[position] == frequent for position in best])
    return values


def test_a_study_of_another_package_needs_rows_and_by_alone(files, tmp_path, capsys):
    samples, inputs, _ = files
    rows, metrics = tmp_path / "rows.parquet", tmp_path / "metrics.parquet"
    words = [f"--output={rows}", "--scores", *map(str, inputs["scores"]), "--device=cpu", f"--study={OUTSIDE}"]
    words += [f"--{name}={path}" for name, path in inputs.items() if name != "scores"]
    assert main(["study", *words, "--images-per-class", "3", "--n", "2", "5"]) == 0, capsys.readouterr().err
    expected = {n: shares(samples, inputs["scores"], 3, n) for n in (2, 5)}
    found = {(row["key"], row["n"]): row["value"] for row in read_table(rows).to_pylist()}
    assert found == {(key, n): value for n, values in expected.items() for key, value in values.items()}
    averaged = ["--tables", str(rows), str(rows), "--extractors", "cnn/0", "cnn/1", "--by", *STUDY.by]
    assert main(["study-metrics", "--output", str(metrics), *averaged]) == 0, capsys.readouterr().err
    table = read_table(metrics)
    assert table.column_names == ["extractor", "training", "n", "images", "value", "low", "high"]
    assert [(row["extractor"], row["training"], row["n"]) for row in table.to_pylist()] == [
        ("cnn", training, n) for training in (0, 1, None) for n in (2, 5)
    ]
    with pytest.raises(SystemExit):
        main(["study", *words, "--depth", "2"])
    assert "--depth" in capsys.readouterr().err, "no setting of this study"
    for row in table.to_pylist():
        values = list(expected[row["n"]].values())
        assert row["images"] == 9
        assert row["value"] == pytest.approx(np.mean(values))
        if row["training"] is None:  # twice the same training
            (pooled,) = over_trainings(np.array([values, values])[:, None]).rows()
            assert (row["low"], row["high"]) == pytest.approx((pooled["low"], pooled["high"]))
        else:
            assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * stats.sem(values), rel=0.3)


def test_a_config_names_a_study_by_its_reference(fitting):
    fitting["studies"] = {"frequent": {"study": OUTSIDE, "n": [2, 16]}}
    config, _ = parse_config(fitting)
    assert isinstance(config.studies["frequent"], Frequent)
    assert config.studies["frequent"].images_per_class == 2
    for settings, message in (
        ({"study": OUTSIDE, "n": [17]}, "frequent.n = 17: at most 16, the positions of the grid"),
        ({"study": OUTSIDE, "m": 1}, "frequent.m: unknown key; allowed here: study, images_per_class, n"),
        ({"study": "tests.plugin.study:OTHER"}, "frequent: .*tests.plugin.study:OTHER cannot be imported"),
        ({"n": [1]}, "frequent: no study of this name"),
    ):
        with pytest.raises(InputError, match=f"^config: studies.{message}"):
            parse_config(fitting | {"studies": {"frequent": settings}})


def test_inputs_are_those_of_the_run(files):
    samples, inputs, images = files
    made = StudyInputs(
        read_tokens(inputs["scores"], ["importance"]), inputs["extractor"], inputs["codebook"], Importance(), images
    )
    chosen = made.first(3)
    assert chosen.keys == [sample.key for sample in samples[:9]]
    assert chosen.labels.tolist() == [sample.label for sample in samples[:9]]
    assert (chosen.grids == np.stack([sample.grid for sample in samples[:9]])).all()
    assert (made.pictures(chosen) == np.stack([sample.image for sample in samples[:9]])).all()
    network, codebook = made.load(torch.device("cpu"))
    assert network(codebook[torch.from_numpy(chosen.grids)].permute(0, 3, 1, 2)).shape == (9, 3)
    with pytest.raises(InputError, match=r"images by class: 0: 4, 1: 4, 2: 4; 5 of each are needed"):
        made.first(5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": Frequent()}, "no study: a registered name, or module:STUDY, is needed"),
        ({"settings": Frequent(study="planted")}, "study planted: it has no rows of its own; its rules compute it"),
        ({"settings": Frequent(study="fame")}, "study 'fame': allowed: attributions, .*, or module:"),
        ({"extra": ("model.safetensors",)}, "'model.safetensors': should be name=path"),
        ({"importance": '{"samples": 0}'}, "--importance: samples = 0: should be greater than or equal to 1"),
        ({"importance": "{"}, "--importance: .*JSON"),
    ],
)
def test_wrong_options_are_refused(files, tmp_path, changes, message):
    options = files[1] | {"settings": Frequent(study=OUTSIDE), "device": "cpu"} | changes
    with pytest.raises(InputError, match=message):
        run_study(tmp_path / "rows.parquet", **options)
    assert not (tmp_path / "rows.parquet").exists()


# The study from outside, as if its rows had a column more.
WITH_ANOTHER_COLUMN = replace(STUDY, by=("n", "layer"))


def test_rows_without_a_column_are_refused(files, tmp_path):
    settings = Frequent(study=f"{__name__}:WITH_ANOTHER_COLUMN")
    with pytest.raises(InputError, match="WITH_ANOTHER_COLUMN: its rows lack the columns 'layer'"):
        run_study(tmp_path / "rows.parquet", **files[1], settings=settings, device="cpu")
    assert not (tmp_path / "rows.parquet").exists()


def test_every_study_states_its_parts():
    for name in STUDIES.names():
        study = load_study(name)
        assert study.settings is study_settings(name)
        assert bool(study.rows) != (f"metrics/{name}.parquet" in (study.rules.read_text() if study.rules else "")), name
        for setting, field in study.settings.model_fields.items():
            assert field.description, f"{name}.{setting}"
    assert len(study_commands()) == 17
