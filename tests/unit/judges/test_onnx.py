"""Judges of ONNX files: against the same sums in NumPy, and what is wrong with a file in one line."""

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.judges.judge import load_judge
from cortex.judges.onnx import LEAST, OnnxModel
from cortex.judges.pretrained import pretrained_judge
from cortex.judges.settings import OnnxJudge
from tests.onnx_models import write_linear

SIZE, MEAN, STD = 6, [0.5, 0.25, 0.0], [0.5, 0.125, 2.0]
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)  # of four classes


def settings(folder, names="ant bee cat dog", **others):
    (folder / "names.txt").write_text("\n".join(names.split()))
    fixed = {"network": "onnx", "weights": str(folder / "judge.onnx"), "class_names": str(folder / "names.txt")}
    return OnnxJudge(**fixed | {"size": SIZE, "mean": MEAN, "std": STD} | others)


def images():
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8))


def by_hand():
    """The model's logits of the images, in its own order of classes."""
    pixels = (images().double().numpy() / 255 - MEAN) / STD
    return pixels.mean((1, 2)) @ WEIGHTS.T.astype(np.float64)


@pytest.mark.parametrize("batch", ["n", 1, None])
def test_the_classes_are_matched_by_name_and_the_logits_are_those_of_the_model(batch, tmp_path):
    write_linear(tmp_path / "judge.onnx", WEIGHTS, SIZE, batch=batch)
    pretrained_judge(tmp_path / "judge.safetensors", settings=settings(tmp_path), classes=("dog", "ant", "cat"))
    (tmp_path / "judge.onnx").unlink()  # the judge's file is all that is needed
    judge = load_judge(tmp_path / "judge.safetensors")
    assert judge.class_names == ("dog", "ant", "cat", "bee")
    np.testing.assert_allclose(judge.logits(images()).numpy(), by_hand()[:, [3, 0, 2, 1]], rtol=1e-4, atol=1e-5)


def test_probabilities_are_read_as_their_logarithms(tmp_path):
    write_linear(tmp_path / "judge.onnx", WEIGHTS, SIZE, softmax=True)
    pretrained_judge(tmp_path / "judge.safetensors", settings=settings(tmp_path, outputs="probabilities"))
    found = load_judge(tmp_path / "judge.safetensors").logits(images())
    exact = np.exp(by_hand()) / np.exp(by_hand()).sum(1, keepdims=True)
    np.testing.assert_allclose(found.softmax(1).numpy(), exact, rtol=1e-4)
    np.testing.assert_allclose(found.exp().numpy(), exact, rtol=1e-4)
    assert torch.tensor(0.0).clamp_min(LEAST).log().isfinite()


def test_images_of_another_size_are_resized(tmp_path):
    write_linear(tmp_path / "judge.onnx", WEIGHTS, SIZE)
    pretrained_judge(tmp_path / "judge.safetensors", settings=settings(tmp_path))
    judge = load_judge(tmp_path / "judge.safetensors")
    larger = images().repeat_interleave(2, 1).repeat_interleave(2, 2)
    # Every pixel is four alike: the mean of a channel stays, but for the margins of the filter.
    np.testing.assert_allclose(judge.logits(larger).numpy(), by_hand(), atol=0.5)
    uniform = torch.full((1, 24, 12, 3), 51, dtype=torch.uint8)
    exact = ((0.2 - np.array(MEAN)) / STD) @ WEIGHTS.T
    np.testing.assert_allclose(judge.logits(uniform)[0].numpy(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "others", "said"),
    [
        ({"size": 8}, {}, r"inputs float \['n', 3, 8, 8\], outputs .*; expected one input, float \[any .* 3, 6, 6\]"),
        ({"last": True}, {}, r"inputs float \['n', 6, 6, 3\]"),
        ({"batch": 2}, {}, r"inputs float \[2, 3, 6, 6\]"),
        ({"kind": TensorProto.FLOAT16}, {}, r"inputs float16 "),
        ({"outputs": 2}, {}, r"inputs .*, outputs float \['n', 4\], float \['n', 4\]; expected .* one output"),
        ({}, {"names": "ant bee cat"}, r"output float32 of \(2, 4\) for two images; expected float32 of \(2, 3\)"),
        ({"softmax": True}, {}, r"outputs = 'logits': the model's numbers are probabilities"),
        ({}, {"outputs": "probabilities"}, r"outputs = 'probabilities': .* do not sum to 1"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(model, others, said, tmp_path):
    write_linear(tmp_path / "judge.onnx", WEIGHTS, **{"size": SIZE} | model)
    with pytest.raises(InputError, match=rf"judge\.onnx: {said}") as told:
        pretrained_judge(tmp_path / "judge.safetensors", settings=settings(tmp_path, **others))
    assert "\n" not in str(told.value) and not (tmp_path / "judge.safetensors").exists()


def test_a_damaged_file_is_refused_in_one_line(tmp_path, capfd):
    path = write_linear(tmp_path / "judge.onnx", WEIGHTS, SIZE)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"judge\.onnx: not a whole ONNX model: ") as told:
        pretrained_judge(tmp_path / "judge.safetensors", settings=settings(tmp_path))
    assert "\n" not in str(told.value) and capfd.readouterr().err == ""


def test_an_empty_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.onnx").touch()
    stated = {"classes": 2, "length": 0, "size": 8, "mean": [0] * 3, "std": [1] * 3, "outputs": "logits"}
    with pytest.raises(InputError, match=r"empty\.onnx: not a whole ONNX model: it is empty"):
        OnnxModel.pretrained(tmp_path / "empty.onnx", **stated)


def test_weights_apart_from_the_file_are_refused_in_one_line(tmp_path):
    model = onnx.load(write_linear(tmp_path / "judge.onnx", WEIGHTS, SIZE))
    onnx.save(model, tmp_path / "judge.onnx", save_as_external_data=True, location="judge.data", size_threshold=0)
    with pytest.raises(InputError, match=r"judge\.onnx: .* export with external_data=False") as told:
        pretrained_judge(tmp_path / "judge.safetensors", settings=settings(tmp_path))
    assert "\n" not in str(told.value)


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, capsys):
    write_linear(tmp_path / "judge.onnx", WEIGHTS, SIZE)
    settings(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    options = ["--weights", str(tmp_path / "judge.onnx"), "--class-names", str(tmp_path / "names.txt"), "--size", "6"]
    assert main(["pretrained-judge", "--output", str(tmp_path / "judge"), "--network", "onnx", *options]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "install onnxruntime, this package's extra 'onnx'" in error


def test_onnxruntime_is_imported_only_to_judge(tmp_path):
    names = {"classes": 4, "length": 10, "size": SIZE, "mean": MEAN, "std": STD, "outputs": "logits"}
    assert OnnxModel(**names)._session is None


@pytest.mark.parametrize("std", [[1.0, 0.0, 1.0], [1.0, 1.0], [-1.0, 1.0, 1.0]])
def test_a_deviation_is_positive_and_of_three_colours(std, tmp_path):
    with pytest.raises(ValueError, match="std"):
        settings(tmp_path, std=std)
