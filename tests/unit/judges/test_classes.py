"""Classes of judge and generator are matched by name."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cortex.core.errors import InputError
from cortex.generators.class_names import match_names
from cortex.judges import judge_settings
from cortex.judges.judge import Judge, load_judge
from cortex.judges.pretrained import pretrained_judge
from cortex.judges.settings import PretrainedJudge
from cortex.judges.stated import StatedJudge

CPU = torch.device("cpu")


class Channels(nn.Module):
    """Logits: the means of the channels, repeated, times the number of the repetition."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, images):
        means = images.mean((2, 3))
        return torch.stack([means[:, each % 3] * (1 + each) for each in range(self.outputs)], 1)


def matched(own, classes, needed=None):
    needed = range(len(classes)) if needed is None else needed
    return StatedJudge("vit", {}, tuple(own)).for_classes(classes, needed, "judge vit")


def test_names_are_matched_and_equal_ones_in_their_order():
    assert match_names(["crane", "cat", "crane"], ["cat", "crane", "dog", "crane", "crane"]) == [1, 0, -1, 2, -1]


NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8)


@given(NAMES, NAMES)
def test_names_are_matched_as_by_crossing_out(names, wanted):
    left, expected = list(enumerate(names)), []
    for name in wanted:
        hit = next((pair for pair in left if pair[1] == name), None)
        expected.append(-1 if hit is None else hit[0])
        if hit is not None:
            left.remove(hit)
    assert match_names(names, wanted) == expected


def test_logits_are_in_the_generators_order():
    stated = matched(["c", "a", "b", "other"], ["a", "b", "c"])
    assert stated.outputs == (1, 2, 0, 3)
    judge = Judge(Channels(4), CPU, stated)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8))
    own = Judge(Channels(4), CPU).logits(images)
    assert torch.equal(judge.logits(images), own[:, [1, 2, 0, 3]])
    assert judge.class_names == ("a", "b", "c", "other")


def test_the_same_order_needs_none():
    assert matched(["a", "b", "other"], ["a", "b"]).outputs is None
    assert StatedJudge("vit_b_16", {}).for_classes(["a", "b"], [0, 1], "judge").outputs is None, "nothing is known"


def test_a_class_that_the_judge_does_not_know_is_never_read():
    stated = matched(["c", "a"], ["a", "b", "c"], needed=[0, 2])
    judge = Judge(Channels(2), CPU, stated)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8))
    own, logits = Judge(Channels(2), CPU).logits(images), judge.logits(images)
    assert logits.isfinite().all() and (logits.argmax(1) != 1).all()
    torch.testing.assert_close(logits.softmax(1)[:, [2, 0]], own.softmax(1))
    assert logits.softmax(1)[:, 1].max() < 1e-40
    assert judge.class_names == ("a", "", "c")


def test_names_that_do_not_match_are_listed():
    told = (
        r"^judge vit: classes of the generator that it does not know: 'annual crop', 'river'; its classes that the "
        r"generator does not have: 'AnnualCrop', 'River'; classes are matched by name: name its classes so$"
    )
    with pytest.raises(InputError, match=told):
        matched(["AnnualCrop", "forest", "River"], ["annual crop", "forest", "river"])
    with pytest.raises(InputError, match=r"does not know: 'b'; its classes that the generator does not have: none;"):
        matched(["a"], ["a", "b"])
    with pytest.raises(InputError, match=r"know: 'b0', 'b1', 'b2', 'b3', 'b4' and 3 more; .* have: none;"):
        matched(["a"], ["a", *(f"b{number}" for number in range(8))])
    with pytest.raises(InputError, match=r"classes 2 are needed; the generator has classes 0 to 1"):
        matched(["a", "b"], ["a", "b"], needed=[2])


def test_images_of_another_size_are_resized_for_the_judge():
    stated = StatedJudge("vit", {"classes": 3, "size": 8})
    seen = []

    class Seen(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean((2, 3))

    judge = Judge(Seen(), CPU, stated)
    image = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    image[:, :, ::2] = 255  # stripes of a pixel
    judge.logits(image)
    judge.logits(image[:, :8, :8])
    assert [tuple(images.shape) for images in seen] == [(1, 3, 8, 8)] * 2
    assert seen[0][..., 1:-1].abs().max() < 0.2, "grey, as between black and white"
    assert sorted(seen[1].unique().tolist()) == [-1, 1]


class NamedSettings(PretrainedJudge):
    """A judge of another package that states its classes."""

    def known_classes(self):
        return ("red", "green", "blue")


class Named(nn.Module):
    """The mean of each channel."""

    Settings = NamedSettings

    @classmethod
    def pretrained(cls, weights):
        return cls()

    def forward(self, images):
        return images.mean((2, 3))


def test_a_judge_of_another_package_may_state_its_classes(tmp_path, monkeypatch):
    network = f"{__name__}:Named"
    monkeypatch.setenv("CORTEX_NETWORKS", network)
    settings = judge_settings(network)(network=network)
    pretrained_judge(tmp_path / "judge.safetensors", settings=settings, classes=("blue", "red"))
    judge = load_judge(tmp_path / "judge.safetensors", CPU)
    assert judge.class_names == ("blue", "red", "green")
    colours = torch.tensor([[255, 0, 0], [0, 0, 255]], dtype=torch.uint8)[:, None, None].expand(2, 4, 4, 3)
    assert judge.logits(colours).argmax(1).tolist() == [1, 0]
    with pytest.raises(InputError, match=r":Named: classes of the generator that it does not know: 'violet';"):
        pretrained_judge(tmp_path / "judge.safetensors", settings=settings, classes=("blue", "violet"))
