"""Codebook-level explanation: which codes make a region of an image read as a chosen concept (METHOD.md, section 5)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds
from cortex.core.tables import write_table
from cortex.data.layout import Layout
from cortex.data.tokens import read_tokens
from cortex.explain.settings import CodebookSearch, Region, SearchOptimisation
from cortex.extractors.codebook import look_up
from cortex.extractors.network import check_reads, load_with_codebook
from cortex.fast.packed_linear import PackedLinear
from cortex.fast.region_forward import RegionForward, is_convolutional
from cortex.generators.nearest import nearest_codes

PURPOSE = "codebook search"  # of the random numbers; all methods that select tokens start from the same ones
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("method", pa.string()),
        ("step", pa.int32()),
        ("source", pa.int32()),
        ("target", pa.int32()),
        ("positions", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.int32())),
        ("logit_before", pa.float32()),
        ("logit_after", pa.float32()),
    ]
)

# Steps that were recorded, each with the region's tokens int64 [B, p].
Record = Iterator[tuple[int, Tensor]]
# Target logits [B] as a function of region embeddings [B, p, d].
TargetLogits = Callable[[Tensor], Tensor]
# Addition of every code to the objective, [B, p, K], as a function of the region's most probable tokens int64 [B, p].
PriorBonus = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Part:
    """Images that are searched at once: B images, a region of p positions, embeddings of d channels.

    Args:
        keys: keys of the images.
        grids: int64 ``[B, h, w]``.
        targets: class that each image is to read as, int64 ``[B]``.
        positions: of the region, in the flattened grid.
        codebook: float ``[K, d]``: the codes that a position of the region can hold.
        target_logits: the extractor's logits of the targets, given the region's embeddings.
        first: token of the first of these codes at every position, int64 ``[p]``; not 0 where tokens have several
            scales. A search finds codes, from 0 on.
    """

    keys: list[str]
    grids: Tensor
    targets: Tensor
    positions: list[int]
    codebook: Tensor
    target_logits: TargetLogits
    first: Tensor

    @property
    def original(self) -> Tensor:
        """Codes of the region before the search, int64 ``[B, p]``."""
        return self.grids.flatten(1)[:, self.positions] - self.first

    @torch.no_grad()
    def logits_of(self, tokens: Tensor) -> Tensor:
        """Target logits ``[B]`` of the images with codes int64 ``[B, p]`` in the region."""
        return self.target_logits(self.codebook[tokens])


def prepare(extractor: nn.Module) -> nn.Module | RegionForward:
    """The extractor in the form that searches fastest."""
    return RegionForward(extractor) if is_convolutional(extractor) else extractor


def search_part(
    extractor: nn.Module | RegionForward,
    codebook: Tensor,
    keys: list[str],
    grids: Tensor,
    targets: Tensor,
    region: Region,
    scales: Sequence[int] = (),
) -> Part:
    """Images as a search takes them; see :class:`Part`.

    Args:
        extractor: in eval mode, its weights without gradients; :func:`prepare` makes it fast.
        codebook: float ``[K, d]``.
        keys: keys of the images.
        grids: int64 ``[B, h, w]``.
        targets: int64 ``[B]``.
        region: within the grid; within the finest scale where tokens have several.
        scales: rows and columns of every scale; empty: tokens have one.
    """
    embeddings = look_up(codebook, grids)
    if not scales:
        positions, logits = region.positions(grids.shape[2]), target_logits_with(extractor, embeddings, targets, region)
        return Part(keys, grids, targets, positions, codebook, logits, torch.zeros_like(grids[0, 0, :1]))
    layout = Layout((grids.shape[1], grids.shape[2]), tuple(scales))
    positions, codes = layout.inside(*region.window), len(codebook) // len(scales)
    first = torch.from_numpy(layout.scale_of[positions] * codes).to(grids.device)

    def target_logits(inside: Tensor) -> Tensor:
        whole = embeddings.clone()
        whole[:, :, 0, positions] = inside.transpose(1, 2)
        return cast(Tensor, cast(nn.Module, extractor)(whole)).gather(1, targets[:, None])[:, 0]

    return Part(keys, grids, targets, positions, codebook[:codes], target_logits, first)


def token_selection(
    part: Part,
    optimisation: SearchOptimisation,
    seed: int,
    *,
    prior_bonus: PriorBonus | None = None,
    refresh_every: int = 1,
) -> Record:
    """:func:`select_tokens` for some images; an image's random numbers are a function of the seed and its key."""
    return select_tokens(
        part.target_logits,
        part.codebook,
        key_seeds(seed, PURPOSE, part.keys).tolist(),
        len(part.positions),
        optimisation,
        prior_bonus=prior_bonus,
        refresh_every=refresh_every,
    )


def select_tokens(
    target_logits: TargetLogits,
    codebook: Tensor,
    seeds: Sequence[int],
    positions: int,
    optimisation: SearchOptimisation,
    *,
    prior_bonus: PriorBonus | None = None,
    refresh_every: int = 1,
) -> Record:
    """Token selection: a row of logits over all K codes for every position of the region.

    A step draws a hard Gumbel-softmax sample, looks it up, and follows the straight-through gradient of the target
    logit with Adam. Only the region's rows exist. There is no one-hot matrix: the forward pass is a look-up, the
    backward pass one product with the codebook.

    Args:
        target_logits: the extractor's logit of each image's target, given its region's embeddings.
        codebook: float ``[K, d]``.
        seeds: one an image; its search is a function of it, whatever the batch.
        positions: of the region, p.
        optimisation: steps, steps between records, learning rate, temperature.
        prior_bonus: addition of the sampled codes to the objective, beside the target logit; None: nothing.
        refresh_every: steps between two evaluations of ``prior_bonus``.

    Yields:
        The step and the most probable code of every position, int64 ``[B, p]``.

    Raises:
        InputError: the logits are not finite: the learning rate is too high or the temperature too low.
    """
    steps, temperature = optimisation.steps, optimisation.temperature
    random = [torch.Generator(codebook.device).manual_seed(seed) for seed in seeds]
    logits = torch.empty(len(seeds), positions, len(codebook), device=codebook.device)
    noise = torch.empty_like(logits)
    for image, generator in enumerate(random):
        torch.randn(logits.shape[1:], generator=generator, out=logits[image])
    logits.requires_grad_()
    adam = torch.optim.Adam([logits], lr=optimisation.learning_rate, fused=True)
    with_codes = PackedLinear(codebook)
    added = None
    for step in range(1, steps + 1):
        if prior_bonus is not None and (step - 1) % refresh_every == 0:
            added = prior_bonus(logits.detach().argmax(-1))
        for image, generator in enumerate(random):
            noise[image].uniform_(generator=generator)
        with torch.no_grad():
            # −log(−log u) is Gumbel noise; u = 0 gives −∞, a code that cannot be drawn.
            perturbed = (logits - noise.log_().neg_().log_()) / temperature
            region = codebook[perturbed.argmax(-1)].requires_grad_()
        (gradient,) = torch.autograd.grad(-target_logits(region).sum(), region)
        with torch.no_grad():
            soft = perturbed.softmax(-1)
            of_soft = with_codes(gradient.flatten(0, 1)).view_as(soft)
            if added is not None:
                of_soft -= added
            of_soft -= (soft * of_soft).sum(-1, keepdim=True)
            logits.grad = of_soft.mul_(soft).div_(temperature)
        adam.step()
        if step % optimisation.record_every == 0 or step == steps:
            if not logits.isfinite().all():
                rates = f"learning_rate = {optimisation.learning_rate}, temperature = {temperature}"
                raise InputError(f"codebook search, {rates}: the logits of step {step} are not finite")
            yield step, logits.detach().argmax(-1)


def optimise_embeddings(
    target_logits: TargetLogits, codebook: Tensor, start: Tensor, optimisation: SearchOptimisation
) -> Record:
    """Baseline: optimise the region's embedding vectors themselves, from the original ones ``start [B, p, d]``.

    Yields:
        The step and the nearest code of every vector, int64 ``[B, p]``.
    """
    region = start.clone().requires_grad_()
    adam = torch.optim.Adam([region], lr=optimisation.learning_rate)
    for step in range(1, optimisation.steps + 1):
        (region.grad,) = torch.autograd.grad(-target_logits(region).sum(), region)
        adam.step()
        if step % optimisation.record_every == 0 or step == optimisation.steps:
            yield step, nearest_codes(region.detach(), codebook)


def target_logits_with(
    extractor: nn.Module | RegionForward, embeddings: Tensor, targets: Tensor, region: Region
) -> TargetLogits:
    """The target logits ``[B]`` as a function of the region's embeddings ``[B, p, d]``, the rest of E fixed.

    Args:
        extractor: in eval mode, its weights without gradients; :func:`prepare` makes it fast.
        embeddings: E, float ``[B, d, h, w]``.
        targets: int64 ``[B]``.
        region: within the grid.
    """
    if isinstance(extractor, RegionForward):
        logits = extractor.target_logits(embeddings, region.window, targets)
    else:
        rows, columns = region.window
        logits = _whole(extractor, embeddings, slice(*rows), slice(*columns), targets)

    def target_logits(inside: Tensor) -> Tensor:
        return logits(inside.unflatten(1, (region.height, region.width)))

    return target_logits


def _whole(
    extractor: nn.Module, embeddings: Tensor, rows: slice, columns: slice, targets: Tensor
) -> Callable[[Tensor], Tensor]:
    """The targets' logits ``[B]`` as a function of the region's embeddings ``[B, rows, columns, d]``."""

    def logits(inside: Tensor) -> Tensor:
        whole = embeddings.clone()
        whole[:, :, rows, columns] = inside.permute(0, 3, 1, 2)
        return cast(Tensor, extractor(whole)).gather(1, targets[:, None])[:, 0]

    return logits


def search_codebook(
    output: Path,
    tokens: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    settings: CodebookSearch,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Search the codebook for tokens that turn a region of an image into another class, and run the baseline.

    Args:
        output: Parquet to write, a row an image, method and recorded step: key, method (token_selection or embedding),
            step, source (class of the image), target, positions (of the region, in the flattened grid), tokens (found
            at these positions), logit_before and logit_after (the extractor's logit of the target).
        tokens: token tables of the test split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        settings: classes, images, region and optimisation.
        seed: seed of the initial logits and the Gumbel noise. The numbers of an image are a function of the seed and
            the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    optimisation = settings.optimisation()

    def methods(part: Part) -> dict[str, Record]:
        start = part.codebook[part.original]
        return {
            "token_selection": token_selection(part, optimisation, seed),
            "embedding": optimise_embeddings(part.target_logits, part.codebook, start, optimisation),
        }

    write_table(output, search_images(tokens, extractor, codebook, methods, settings, choose_device(device)))


def search_images(
    tokens: list[Path],
    extractor: Path,
    codebook: Path,
    methods: Callable[[Part], Mapping[str, Record]],
    settings: CodebookSearch,
    device: torch.device,
) -> pa.Table:
    """Run searches for the first images of every source class.

    Args:
        tokens: token tables of the test split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        methods: the searches of some images, by the names of their methods.
        settings: classes, images and region.
        device: where to compute.

    Returns:
        Rows of :data:`SCHEMA`.

    Raises:
        InputError: a file is missing or damaged, there are too few images, or the region reaches beyond the grid.
    """
    network, code_vectors = load_with_codebook(extractor, codebook, device)
    images = read_tokens(tokens, codes=len(code_vectors))
    images = images.take(images.first(settings.images_per_class, settings.pairs))
    check_reads(extractor, images.shape, max(settings.pairs.values()))
    check_fits(settings.region, images.layout.tilings[-1])
    prepared = prepare(network)
    grids = torch.from_numpy(images.grids).to(device)
    targets = torch.tensor([settings.pairs[label] for label in images.labels.tolist()], device=device)
    tables: list[pa.Table] = []
    batches = torch.arange(len(images)).split(settings.batch)
    for rows in progress(batches, len(batches), "codebook search", "batch"):
        keys = [images.keys[row] for row in rows]
        part = search_part(prepared, code_vectors, keys, grids[rows], targets[rows], settings.region, images.scales)
        tables += _tables(part, images.labels[rows.numpy()], methods(part))
    return pa.concat_tables(tables)


def check_fits(region: Region, grid: tuple[int, int]) -> None:
    """Raise an InputError where a region reaches beyond a grid of (h, w)."""
    bottom, right = region.top + region.height, region.left + region.width
    if bottom > grid[0] or right > grid[1]:
        raise InputError(
            f"region: rows {region.top} to {bottom - 1} and columns {region.left} to {right - 1} "
            f"do not fit in the grid of {grid[0]}×{grid[1]}"
        )


def _tables(part: Part, sources: NDArray[np.int64], searches: Mapping[str, Record]) -> Iterator[pa.Table]:
    """Rows of :data:`SCHEMA`, a table for every method and record."""
    images, before = len(part.keys), part.logits_of(part.original).tolist()
    for method, record in searches.items():
        for step, tokens in record:
            columns = {
                "key": part.keys,
                "method": [method] * images,
                "step": [step] * images,
                "source": sources,
                "target": part.targets.tolist(),
                "positions": [part.positions] * images,
                "tokens": (tokens + part.first).tolist(),
                "logit_before": before,
                "logit_after": part.logits_of(tokens).tolist(),
            }
            yield pa.table(columns).cast(SCHEMA)
