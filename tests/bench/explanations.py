"""Rows of the explanations: importance, the codebook search, and its embedding baseline."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from cortex.app.rates import product_rate
from cortex.explain.codebook_search import Record, optimise_embeddings, prepare, select_tokens, target_logits_with
from cortex.explain.importance import token_importance
from cortex.explain.settings import Region, SearchOptimisation
from cortex.extractors.codebook import look_up
from cortex.extractors.cost import extractor_cost
from cortex.extractors.settings import CnnSettings
from cortex.fast.region_forward import RegionForward
from tests.bench.baselines import released_embedding_search, released_importance, released_search
from tests.bench.extractors import CHANNELS, CLASSES, CODES, GRID, frozen, published
from tests.bench.rows import Row, agree, agree_in_codes, faster, seconds

REPEATS = 3  # turns of a search
TURNED = 0.1  # share of the codes of a check that rounding can change: Adam follows signs of gradients


def explanations() -> Iterator[Row]:
    """All rows of this module, each as soon as it is measured."""
    network = published("cnn")
    yield importance(network, 25, 1, 12)
    yield importance(network, 4, 5)  # the released script's default batch
    yield search("CE", network, 1, 12)
    yield search("CE", network, 8, 18)
    yield embedding_search("CE", network, 1)
    yield embedding_search("CE", network, 8)
    network = published("resnet")
    yield search("RE", network, 1)
    yield search("RE", network, 8)


def importance(network: nn.Module, batch: int, copies: int, goal: float | None = None) -> Row:
    """Token importance of a batch by a few of the twenty noisy copies: every copy costs the same."""
    path = f"importance, CE, batch {batch}"
    embeddings, labels = torch.randn(batch, CHANNELS, *GRID), torch.arange(batch)
    ours = frozen(network)
    check_importance(path, network, ours, embeddings[:2], labels[:2])
    noise = noise_of(embeddings, copies)
    mine, ratio = faster(
        lambda: token_importance(ours, embeddings, labels, list(range(batch)), samples=copies),
        lambda: released_importance(network, embeddings, noise, labels),
        repeats=1,
    )
    rate = f"{batch * copies / mine / 20:.3f} images (20 copies each)"
    return Row(path, rate, "a backward pass an image, through the batch", ratio, goal)


def check_importance(path: str, network: nn.Module, ours: nn.Module, embeddings: Tensor, labels: Tensor) -> None:
    """End the bench where the scores of two copies of some images differ."""
    found = token_importance(ours, embeddings, labels, list(range(len(labels))), samples=2)
    expected = released_importance(network, embeddings, noise_of(embeddings, 2), labels)
    agree(path, found, expected)


def noise_of(embeddings: Tensor, copies: int) -> Tensor:
    """Our noise ``[copies, B, d, h, w]`` of embeddings ``[B, d, h, w]`` whose seeds are 0, 1, ...."""
    noise = [
        0.2
        * (each.max() - each.min())
        * torch.randn(copies, *each.shape, generator=torch.Generator().manual_seed(seed))
        for seed, each in enumerate(embeddings)
    ]
    return torch.stack(noise, 1)


@dataclass(frozen=True)
class Searched:
    """Images to search, with an extractor as both sides hold it. An image's seed is its index.

    Args:
        released: the extractor of the released scripts.
        prepared: ours.
        codebook: ``[K, d]``.
        grids: int64 ``[B, h, w]``.
        targets: int64 ``[B]``.
        region: within the grid.
    """

    released: nn.Module
    prepared: nn.Module | RegionForward
    codebook: Tensor
    grids: Tensor
    targets: Tensor
    region: Region

    @property
    def places(self) -> list[int]:
        """Positions of the region."""
        return self.region.positions(self.grids.shape[2])

    @property
    def target_logits(self) -> Callable[[Tensor], Tensor]:
        """Our target logits as a function of the region's embeddings."""
        return target_logits_with(self.prepared, look_up(self.codebook, self.grids), self.targets, self.region)

    def select(self, optimisation: SearchOptimisation) -> Record:
        """Our token selection for all images."""
        seeds = list(range(len(self.grids)))
        return select_tokens(self.target_logits, self.codebook, seeds, len(self.places), optimisation)

    def select_as_released(self, image: int, learning_rate: float, *, our_numbers: bool) -> Iterator[Tensor]:
        """The released token selection for one image, by our random numbers of its region or by others."""
        random = torch.Generator().manual_seed(image)
        shape = len(self.places), len(self.codebook)

        def draw(every: torch.Size) -> Tensor:
            numbers = torch.rand(every)
            numbers[self.places] = torch.rand(shape, generator=random)
            return numbers

        return released_search(
            self.released,
            nn.Parameter(self.codebook),
            self.grids[image],
            int(self.targets[image]),
            self.region,
            torch.randn(shape, generator=random),
            learning_rate=learning_rate,
            draw=draw if our_numbers else torch.rand,
        )

    def optimise(self, optimisation: SearchOptimisation) -> Record:
        """Our embedding baseline for all images."""
        start = self.codebook[self.grids.flatten(1)[:, self.places]]
        return optimise_embeddings(self.target_logits, self.codebook, start, optimisation)

    def optimise_as_released(self, image: int, learning_rate: float) -> Iterator[Tensor]:
        """The released embedding baseline for one image."""
        embedding = look_up(self.codebook, self.grids[image : image + 1]).contiguous()
        target = int(self.targets[image])
        return released_embedding_search(self.released, embedding, target, self.region, learning_rate=learning_rate)


def searched(network: nn.Module, images: int) -> Searched:
    """Random images at the published sizes."""
    codebook, grids = torch.randn(CODES, CHANNELS), torch.randint(CODES, (images, *GRID))
    region = Region(top=7, left=7, height=4, width=4)
    return Searched(network, prepare(frozen(network)), codebook, grids, torch.arange(images) + 7, region)


def check_search(path: str, images: Searched, steps: int = 5) -> None:
    """End the bench where the most probable codes of the first and the last image differ in one of some large steps."""
    record = images.select(SearchOptimisation(steps=steps, record_every=1, learning_rate=0.1))
    found = torch.stack([codes for _, codes in record], 1)
    for image in {0, len(found) - 1}:
        theirs = islice(images.select_as_released(image, 0.1, our_numbers=True), steps)
        expected = torch.stack([logits[images.places].argmax(1) for logits in theirs])
        agree_in_codes(path, found[image], expected, TURNED)


def check_embedding_search(path: str, images: Searched, steps: int = 5) -> None:
    """End the bench where the nearest codes of the first and the last image differ in one of some large steps."""
    record = images.optimise(SearchOptimisation(steps=steps, record_every=1, learning_rate=1.0))
    found = torch.stack([codes for _, codes in record], 1)
    for image in {0, len(found) - 1}:
        theirs = islice(images.optimise_as_released(image, 1.0), steps)
        vectors = torch.stack([whole[0].flatten(1).T[images.places] for whole in theirs])
        agree_in_codes(path, found[image], torch.cdist(vectors, images.codebook).argmin(-1), TURNED)


def search(name: str, network: nn.Module, batch: int, goal: float | None = None) -> Row:
    """Token selection over the whole codebook, an image and a step at a time."""
    path, steps = f"codebook search, {name}, K = {CODES}, {batch} at once", 10
    images = searched(network, batch)
    check_search(path, images)
    theirs = images.select_as_released(0, 0.01, our_numbers=False)
    mine, ratio = in_turns(images.select(every(steps)), theirs, steps)
    least = least_of_search(images.region) * steps / mine if name == "CE" and batch == 1 else None
    return Row(
        path,
        f"{steps * batch / mine:.1f} image steps",
        "all 256 rows, weights' gradients included",
        ratio * batch,
        goal,
        "" if least is None else f"multiplying and reading: {least:.0%} of it",
    )


def embedding_search(name: str, network: nn.Module, batch: int) -> Row:
    """The embedding baseline of the search, an image and a step at a time."""
    path, steps = f"embedding baseline, {name}, {batch} at once", 20
    images = searched(network, batch)
    check_embedding_search(path, images)
    mine, ratio = in_turns(images.optimise(every(steps)), images.optimise_as_released(0, 0.01), steps)
    against = "the whole embedding, weights' gradients too"
    return Row(path, f"{steps * batch / mine:.1f} image steps", against, ratio * batch)


def every(steps: int) -> SearchOptimisation:
    """An optimisation that stops every so many steps, as often as a row needs."""
    return SearchOptimisation(steps=steps * (1 + REPEATS), record_every=steps)


def in_turns(ours: Record, theirs: Iterator[Tensor], steps: int) -> tuple[float, float]:
    """Seconds of some steps of ours, and how many times as long theirs take; neither with its preparation."""
    next(theirs)  # the first step allocates
    return faster(lambda: next(ours), lambda: deque(islice(theirs, steps), maxlen=0), REPEATS)


def least_of_search(region: Region) -> float:
    """Seconds of a step for one image that cannot be saved, at the rates of this machine.

    The weights of two connected layers, which no cache holds, are read twice; then there is the arithmetic of what the
    region reaches, by minimal filtering: 16 multiplications for 36.
    """
    cpu, settings = torch.device("cpu"), CnnSettings(network="cnn")
    connected = settings.hidden * (settings.width * 16 + settings.hidden)
    step = extractor_cost(settings, CHANNELS, CLASSES, GRID, region.window).search
    large = torch.zeros(1 << 26)
    reading = 4 * connected * 2 / (4 * large.numel() / min(seconds(large.sum) for _ in range(5)))
    return reading + (step - 2 * 2 * connected) * 16 / 36 / product_rate(cpu)
