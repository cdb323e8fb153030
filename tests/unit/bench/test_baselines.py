"""The checks of the bench, at small sizes: every baseline computes the same as ours; one that does not stops it."""

import sys

import numpy as np
import pytest
import torch
from taming.modules.transformer.mingpt import GPT

from cortex.explain.codebook_search import prepare
from cortex.explain.settings import Region
from cortex.extractors.network import build_extractor
from cortex.extractors.settings import CnnSettings
from cortex.judges.judge import Judge
from cortex.judges.networks import ResNet
from tests.bench import __main__ as bench
from tests.bench import baselines, explanations, stages
from tests.bench.extractors import frozen, settled

GRID, CHANNELS, CODES, CLASSES = (8, 8), 5, 40, 6
SIZES = {"cnn": {"width": 8, "hidden": 16}, "resnet": {"width": 16, "hidden": 16}}
STOPS = "^row: ours and the baseline do not compute the same.*; the bench stops$"


def network(name):
    torch.manual_seed(0)
    extractor = build_extractor(name, channels=CHANNELS, classes=CLASSES, grid=GRID, **SIZES[name])
    return settled(extractor, CHANNELS, GRID)


def stops(check, *arguments):
    """Whether a check ends the bench, with one line."""
    with pytest.raises(SystemExit, match=STOPS) as stopped:
        check(*arguments)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("name", SIZES)
def test_importance(name):
    released = network(name)
    ours = frozen(released)
    embeddings, labels = torch.randn(3, CHANNELS, *GRID), torch.tensor([4, 0, 2])
    explanations.check_importance("row", released, ours, embeddings, labels)
    stops(
        explanations.check_importance, "row", network(name), frozen(settled(ours, CHANNELS, GRID)), embeddings, labels
    )


def searched(name, images):
    released = network(name)
    codebook, grids = torch.randn(CODES, CHANNELS), torch.randint(CODES, (images, *GRID))
    region = Region(top=2, left=3, height=2, width=3)
    targets = torch.arange(images) + 1
    return explanations.Searched(released, prepare(frozen(released)), codebook, grids, targets, region)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("images", [1, 3])
def test_the_codebook_search(name, images, monkeypatch):
    pair = searched(name, images)
    explanations.check_search("row", pair, steps=15)
    monkeypatch.setattr(explanations, "released_search", of_another_class(explanations.released_search, 3))
    stops(explanations.check_search, "row", pair, 15)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("images", [1, 3])
def test_the_embedding_baseline(name, images, monkeypatch):
    pair = searched(name, images)
    explanations.check_embedding_search("row", pair)
    wrong = of_another_class(explanations.released_embedding_search, 2)
    monkeypatch.setattr(explanations, "released_embedding_search", wrong)
    stops(explanations.check_embedding_search, "row", pair)


def of_another_class(search, place):
    """A search whose argument at a place, the class, is another one."""

    def wrong(*arguments, **options):
        changed = [*arguments[:place], 0, *arguments[place + 1 :]]
        return search(*changed, **options)

    return wrong


def test_a_released_search_leaves_what_is_outside_of_the_region():
    pair = searched("cnn", 1)
    outside = [place for place in range(64) if place not in pair.places]
    steps = pair.select_as_released(0, 1.0, our_numbers=True)
    for _ in range(3):
        logits = next(steps)
    codes = pair.grids[0].flatten()[outside]
    assert torch.equal(logits[outside], 600.0 * torch.nn.functional.one_hot(codes, CODES) - 300)
    embedding = pair.codebook[pair.grids].permute(0, 3, 1, 2)
    steps = pair.optimise_as_released(0, 1.0)
    for _ in range(3):
        whole = next(steps)
    changed = (whole != embedding).any(1).flatten().nonzero()[:, 0].tolist()
    assert changed == pair.places


@pytest.fixture
def masked():
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    return stages.Masked(
        judge=Judge(ResNet(width=16), torch.device("cpu")),
        images=random.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8),
        labels=np.array([3, 0, 9]),
        grids=random.integers(0, 12, (3, 64)),
        scores=random.normal(size=(3, 64)),
        random=random.random((3, 64)),
        n=[1, 4],
        codes=12,
        shape=GRID,
    )


def test_masking(masked, monkeypatch):
    pictures = masked.pictures()
    assert len(pictures) == 1 + 4 * 2
    stages.check_masking("row", masked, pictures)
    stops(stages.check_masking, "row", masked, pictures[:1] + pictures[:0:-1])
    monkeypatch.setattr(stages, "released_masks", lambda grid, order, n: [place in order[:n] for place in range(64)])
    stops(stages.check_masking, "row", masked, pictures)


def test_masks_cover_all_positions_of_the_chosen_codes():
    assert baselines.released_masks([5, 7, 5, 2], [2, 3, 0, 1], 1) == [True, False, True, False]
    assert baselines.released_masks([5, 7, 5, 2], [2, 3, 0, 1], 2) == [True, False, True, True]


def test_counting(monkeypatch):
    random = np.random.default_rng(0)
    labels, tokens = random.integers(0, CLASSES, 50), random.integers(0, CODES, (50, 9))
    stages.check_counting("row", labels, tokens, CODES)
    monkeypatch.setattr(stages, "count_by_dictionaries", lambda *lists: {0: {0: 1}})
    stops(stages.check_counting, "row", labels, tokens, CODES)


@pytest.mark.parametrize("theirs", [baselines.uncached, baselines.cached])
def test_sampling(theirs):
    torch.manual_seed(0)
    gpt = GPT(vocab_size=24, block_size=12, n_layer=2, n_head=2, n_embd=16).eval().requires_grad_(False)
    classes, uniforms = torch.arange(4), torch.rand(4, 12, dtype=torch.float64)
    with torch.inference_mode():
        stages.check_sampling("row", theirs, gpt, classes, uniforms)
        stops(stages.check_sampling, "row", lambda *given: theirs(gpt, classes, 1 - uniforms), gpt, classes, uniforms)


def trained():
    grids = torch.randint(CODES, (12, *GRID), dtype=torch.int32, generator=torch.Generator().manual_seed(1))
    settings = CnnSettings(network="cnn", batch=4, **SIZES["cnn"])
    codebook = torch.randn(CODES, CHANNELS, generator=torch.Generator().manual_seed(2))
    return stages.Trained(network("cnn"), settings, codebook, grids, torch.arange(12) % CLASSES)


def test_training(monkeypatch):
    stages.check_training("row", trained())
    released = stages.released_training

    def without_the_second_batch(network, batches):
        first = next(batches)
        return released(network, (first for _ in batches))

    monkeypatch.setattr(stages, "released_training", without_the_second_batch)
    stops(stages.check_training, "row", trained())


def test_the_help_says_how_every_baseline_differs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--help"])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for name in ("importance", "search", "embedding_search", "masks", "training"):
        assert f"\nreleased_{name}\n" in shown
    assert shown.count("from the released code: ") >= 4
