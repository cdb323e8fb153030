"""Rows of the other stages: jobs, masking, counting, sampling, training and storing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn

from cortex.app import job_client
from cortex.app.job_server import THREAD_VARIABLES, RunServer
from cortex.core.device import place
from cortex.data.layout import Layout
from cortex.data.packed import pack_grids
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import read_shard_tokens
from cortex.evaluate.image_level import image_masks
from cortex.evaluate.masking import Verdict, brightness, judge_masks
from cortex.explain.concept_tokens import TokenCounts
from cortex.extractors.codebook import look_up
from cortex.extractors.settings import CnnSettings
from cortex.extractors.state import Training as State
from cortex.extractors.train import classify, optimizer_of, steps_in, train_epoch
from cortex.generators.network.raster import RasterSampler
from cortex.generators.sampling import Sampling
from cortex.generators.taming.gpt import GptSteps
from cortex.judges.judge import Judge
from cortex.judges.networks import ResNet
from tests.bench.baselines import (
    cached,
    count_by_dictionaries,
    judge_passes,
    released_masks,
    released_training,
    uncached,
)
from tests.bench.extractors import CHANNELS, CLASSES, CODES, GRID, published
from tests.bench.rows import Row, agree, agree_in_codes, check, faster


def job_start() -> Row:
    """The start of a job: Python and what a stage imports, by the run's job server and by itself."""
    server, environment = RunServer(), os.environ | THREAD_VARIABLES
    server.start()
    command = [sys.executable, "-m", "cortex", "importance", "--help"]

    def helped(address: str) -> str:
        changed = environment | {job_client.VARIABLE: address}
        return subprocess.run(command, env=changed, capture_output=True, text=True, check=True).stdout

    address = os.environ[job_client.VARIABLE]
    try:
        check("start of a job", helped(address) == helped(""))
        mine, ratio = faster(lambda: helped(address), lambda: helped(""))
    finally:
        server.stop()
    return Row("start of a job", f"{1 / mine:.1f} jobs", "python -m cortex, without a server", ratio, 10)


@dataclass(frozen=True)
class Masked:
    """Images to judge under masks.

    Args:
        judge: the judge.
        images: uint8 ``[N, H, W, 3]``.
        labels: ``[N]``.
        grids: tokens ``[N, P]``.
        scores: importance of every position, ``[N, P]``.
        random: numbers ``[N, P]``, whose order is the random order of the positions.
        n: numbers of positions whose codes are masked.
        codes: codes in the codebook.
        shape: (h, w) of a grid.
    """

    judge: Judge
    images: NDArray[np.uint8]
    labels: NDArray[np.integer]
    grids: NDArray[np.integer]
    scores: NDArray[np.floating]
    random: NDArray[np.floating]
    n: list[int]
    codes: int
    shape: tuple[int, int]

    def masks(self) -> NDArray[np.bool_]:
        """Our masks of four methods, ``[4, len(n), N, P]``."""
        layout = Layout(self.shape)
        bright = brightness(self.images, layout)
        return image_masks(self.grids, self.scores, self.random, bright, self.n, self.codes, layout.scale_of)

    def judged(self) -> Verdict:
        """Our evaluation."""
        masks, layout = self.masks(), Layout(self.shape)
        return judge_masks(self.judge, self.images, self.labels, masks.reshape(-1, *self.grids.shape), layout, 8)

    def pictures(self) -> list[Tensor]:
        """What the judge's network reads: the images, then the masked images of every method and n, painted by hand."""
        height, width = (side // parts for side, parts in zip(self.images.shape[1:3], self.shape, strict=True))
        shown = [self.images]
        for masks in self.masks().reshape(-1, *self.grids.shape):
            painted = self.images.copy()
            for image, position in zip(*masks.nonzero(), strict=True):
                row, column = divmod(int(position), self.shape[1])
                painted[image, row * height : (row + 1) * height, column * width : (column + 1) * width] = 0
            shown.append(painted)
        return [torch.from_numpy(each).permute(0, 3, 1, 2).float().div_(127.5).sub_(1) for each in shown]


def check_masking(path: str, masked: Masked, pictures: list[Tensor]) -> None:
    """End the bench where masks differ from the released ones, or readings from the judge's passes on pictures."""
    for masks, values in zip(masked.masks(), (masked.scores, masked.random), strict=False):
        expected = [
            [
                released_masks(grid, order, n)
                for grid, order in zip(masked.grids.tolist(), (-values).argsort(1).tolist(), strict=True)
            ]
            for n in masked.n
        ]
        agree_in_codes(path, torch.from_numpy(masks), torch.tensor(expected))
    labels, verdict = torch.from_numpy(masked.labels)[:, None], masked.judged()
    logits = judge_passes(masked.judge.network, pictures)
    for found, passes in ((verdict.logit, logits), (verdict.probability, [each.softmax(1) for each in logits])):
        expected = torch.stack([each.gather(1, labels)[:, 0] for each in passes[1:]])
        agree(path, torch.from_numpy(found), expected)


def masking() -> Row:
    """Image-level evaluation at n = 5…50, with the largest judge that always runs here."""
    path, count, n = "image level, n = 5…50, all but the judge", 8, list(range(5, 51, 5))
    random = np.random.default_rng(0)
    masked = Masked(
        judge=Judge(ResNet(width=32), torch.device("cpu")),
        images=random.integers(0, 256, (count, 256, 256, 3)).astype(np.uint8),
        labels=np.arange(count) % 10,
        grids=random.zipf(1.3, (count, 256)) % CODES,
        scores=random.normal(size=(count, 256)),
        random=random.random((count, 256)),
        n=n,
        codes=CODES,
        shape=GRID,
    )
    pictures = masked.pictures()
    check_masking(path, masked, pictures)
    mine, ratio = faster(masked.judged, lambda: judge_passes(masked.judge.network, pictures))
    return Row(
        path,
        f"{count * 4 * len(n) / mine:.0f} masked images",
        "the judge's forward passes alone",
        ratio,
        0.91,
        f"the judge: the rest costs {1 / ratio - 1:.1%} of it",
    )


def counted(labels: NDArray[np.integer], tokens: NDArray[np.integer], codes: int) -> TokenCounts:
    """Our counts of tokens ``[N, n]`` of images with labels ``[N]``."""
    counter = TokenCounts(codes)
    counter.add(labels, tokens)
    return counter


def check_counting(path: str, labels: NDArray[np.integer], tokens: NDArray[np.integer], codes: int) -> TokenCounts:
    """Our counts; end the bench where a pair or a count differs."""
    expected = count_by_dictionaries(labels.tolist(), tokens.tolist())
    found = counted(labels, tokens, codes)
    pairs = {label * codes + token: count for label, row in expected.items() for token, count in row.items()}
    check(path, dict(zip(found.pairs.tolist(), found.counts.tolist(), strict=True)) == pairs)
    return found


def counting() -> Row:
    """Concept-level counting: 10,000 grids, n = 20 of 256 positions, 1,000 labels."""
    path, random = "concept counting, 10,000 grids", np.random.default_rng(0)
    labels, tokens = random.integers(0, CLASSES, 10_000), random.zipf(1.3, (10_000, 20)) % CODES
    found = check_counting(path, labels, tokens, CODES)
    as_lists = labels.tolist(), tokens.tolist()
    mine, ratio = faster(lambda: counted(labels, tokens, CODES), lambda: count_by_dictionaries(*as_lists), repeats=15)
    bound = f"memory: {len(found.pairs):,} pairs kept of {CLASSES * CODES:,}"
    return Row(path, f"{10_000 / mine:,.0f} grids", "a dictionary of counts a label", ratio, 5, bound)


def sampled(gpt: GPT, classes: Tensor, uniforms: Tensor) -> Tensor:
    """Our tokens."""
    return RasterSampler(GptSteps(gpt)).draw(classes, uniforms, Sampling(top_k=None, top_p=None))


def sampling() -> Iterator[Row]:
    """256 tokens of 16 images from a GPT of 4 layers and width 256."""
    path = "sampling, 256 tokens, 16 images"
    torch.manual_seed(0)
    gpt = GPT(vocab_size=1024, block_size=256, n_layer=4, n_head=4, n_embd=256).eval().requires_grad_(False)
    classes, uniforms = torch.arange(16), torch.rand(16, 256, dtype=torch.float64)
    baselines: tuple[tuple[str, Callable[[GPT, Tensor, Tensor], Tensor], float, int], ...] = (
        ("taming's uncached loop", uncached, 30, 1),
        ("a cached loop that concatenates", cached, 1.5, 3),
    )
    with torch.inference_mode():
        for name, theirs, goal, repeats in baselines:
            check_sampling(path, theirs, gpt, classes, uniforms[:, :64])
            mine, ratio = faster(
                lambda: sampled(gpt, classes, uniforms), partial(theirs, gpt, classes, uniforms), repeats
            )
            yield Row(path, f"{16 / mine:.1f} images", name, ratio, goal)


def check_sampling(
    path: str, theirs: Callable[[GPT, Tensor, Tensor], Tensor], gpt: GPT, classes: Tensor, uniforms: Tensor
) -> None:
    """End the bench where a token differs."""
    agree_in_codes(path, sampled(gpt, classes, uniforms), theirs(gpt, classes, uniforms))


class Trained:
    """A network that both sides train, each a copy of its own, on the same images in the same order.

    Args:
        network: in torch's default memory layout.
        settings: of our training.
        codebook: ``[K, d]``.
        grids: int32 ``[N, h, w]``.
        labels: int64 ``[N]``.
    """

    def __init__(self, network: nn.Module, settings: CnnSettings, codebook: Tensor, grids: Tensor, labels: Tensor):
        self.steps, self.batch = steps_in(len(grids), settings.batch), settings.batch
        self.data = grids, labels
        model = place(deepcopy(network), torch.device("cpu"))
        optimizer, schedule = optimizer_of(settings, model, self.steps, fused=False)
        self.state = State(model, optimizer, schedule, torch.Generator().manual_seed(0))
        self.read = partial(classify, model, codebook)
        order = torch.randperm(len(grids), generator=torch.Generator().manual_seed(0)).split(settings.batch)
        batches = [(look_up(codebook, grids[rows]).contiguous(), labels[rows]) for rows in order]
        self.released = released_training(network, cycle(batches))

    def epoch(self) -> None:
        """Our next epoch."""
        self.state.step = 0
        train_epoch(self.state, self.read, *self.data, batch=self.batch)

    def epoch_as_released(self) -> list[float]:
        """The released training's next epoch: the losses of its steps."""
        return list(islice(self.released, self.steps))


def check_training(path: str, trained: Trained) -> None:
    """End the bench where a loss of the first epoch differs. The same seed drops the same units."""
    torch.manual_seed(0)
    trained.epoch()
    torch.manual_seed(0)
    agree(path, trained.state.losses / trained.batch, torch.tensor(trained.epoch_as_released()))


def training() -> Row:
    """Training steps of CE on grids, beside the released steps on embeddings that are already in memory."""
    path, images = "training step, CE", 32
    settings = CnnSettings(network="cnn", batch=16)
    grids, labels = torch.randint(CODES, (images, *GRID), dtype=torch.int32), torch.randint(CLASSES, (images,))
    trained = Trained(published("cnn"), settings, torch.randn(CODES, CHANNELS), grids, labels)
    check_training(path, trained)
    # The two differ by little: several turns, so that what else the machine does hits both.
    mine, ratio = faster(trained.epoch, trained.epoch_as_released, repeats=5)
    return Row(path, f"{images / mine:.1f} images", "the released step, embeddings in memory", ratio, 0.97)


def stored() -> Iterator[Row]:
    """Bytes an image: float32 embeddings, as released, beside what training and judging read."""
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        samples = [
            Sample(f"train-{index:06d}", index % CLASSES, random.integers(0, CODES, GRID).astype(np.uint16), None)
            for index in range(500)
        ]
        write_shard(Path(folder) / "000000.tar", samples)
        read_shard_tokens(Path(folder) / "000000.parquet", Path(folder) / "000000.tar", codes=CODES)
        pack_grids(Path(folder) / "grids.npy", [Path(folder) / "000000.parquet"], codes=CODES)
        for name, file, goal in (("packed grids", "grids.npy", 500), ("tokens-only shard", "000000.tar", 60)):
            each = (Path(folder) / file).stat().st_size / len(samples)
            yield Row(f"stored, {name}", f"{each:.0f} bytes an image", "float32 embeddings", 4 * 256 * 256 / each, goal)
