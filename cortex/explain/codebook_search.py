"""Codebook-level explanation: which codes make a region of an image read as a chosen concept (section 5)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds
from cortex.core.tables import write_table
from cortex.data.shard_reader import Sample, first_images
from cortex.extractors.codebook import look_up
from cortex.extractors.network import check_reads, load_with_codebook
from cortex.fast.packed_linear import PackedLinear
from cortex.fast.region_forward import Convolutional, RegionForward
from cortex.generators.nearest import nearest_codes

PURPOSE = "codebook search"  # of the searches' random numbers: methods that select tokens start alike
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


@dataclass(frozen=True)
class Region:
    """A rectangle of the grid: rows ``top`` and columns ``left`` onwards, counted from 0."""

    top: int
    left: int
    height: int
    width: int

    def positions(self, grid_width: int) -> list[int]:
        """Its positions in the flattened, row-major grid."""
        rows, columns = range(self.top, self.top + self.height), range(self.left, self.left + self.width)
        return [row * grid_width + column for row in rows for column in columns]


# After every so many steps: the step and the region's tokens int64 [B, p].
Record = Iterator[tuple[int, Tensor]]
# Region embeddings [B, p, d] to the images' target logits [B].
TargetLogits = Callable[[Tensor], Tensor]
# The region's most probable tokens int64 [B, p] to what every code is worth there besides the logit, [B, p, K].
PriorBonus = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Part:
    """Images that are searched at once.

    Args:
        keys: theirs, B.
        grids: int64 ``[B, h, w]``.
        targets: int64 ``[B]``, the class that each is to read as.
        positions: p of the region, in the flattened grid.
        codebook: ``[K, d]``.
        original: the region's embeddings before, ``[B, p, d]``.
        target_logits: the extractor's logits of the targets, given the region's embeddings.
    """

    keys: list[str]
    grids: Tensor
    targets: Tensor
    positions: list[int]
    codebook: Tensor
    original: Tensor
    target_logits: TargetLogits


def select_tokens(
    target_logits: TargetLogits,
    codebook: Tensor,
    seeds: Sequence[int],
    positions: int,
    *,
    steps: int,
    record_every: int,
    learning_rate: float,
    temperature: float,
    prior_bonus: PriorBonus | None = None,
    refresh_every: int = 1,
) -> Record:
    """Token selection: a row of logits over all K codes for every position of the region.

    A step draws a hard Gumbel-softmax sample, looks it up, and follows the straight-through gradient of the target
    logit with Adam. Only the region's rows exist, and the one-hot matrix never does: the forward pass is a look-up,
    the backward pass one product with the codebook.

    Args:
        target_logits: the extractor's logit of each image's target, given its region's embeddings.
        codebook: ``[K, d]``.
        seeds: one an image; its search is a function of it, whatever the batch.
        positions: of the region, p.
        steps, learning_rate: of Adam.
        record_every: steps between records.
        temperature: of the Gumbel-softmax.
        prior_bonus: what the sampled codes add to the objective, beside the target logit; None: nothing.
        refresh_every: steps for which ``worth`` is taken as it was.

    Yields:
        The step and the most probable code of every position, int64 ``[B, p]``.

    Raises:
        InputError: the logits are no longer finite, by the learning rate or the temperature.
    """
    random = [torch.Generator(codebook.device).manual_seed(seed) for seed in seeds]
    logits = torch.empty(len(seeds), positions, len(codebook), device=codebook.device)
    noise = torch.empty_like(logits)
    for image, generator in enumerate(random):
        torch.randn(logits.shape[1:], generator=generator, out=logits[image])
    logits.requires_grad_()
    adam = torch.optim.Adam([logits], lr=learning_rate, fused=True)
    with_codes = PackedLinear(codebook)
    added = None
    for step in range(1, steps + 1):
        if prior_bonus is not None and (step - 1) % refresh_every == 0:
            added = prior_bonus(logits.detach().argmax(-1))
        for image, generator in enumerate(random):
            noise[image].uniform_(generator=generator)
        with torch.no_grad():
            # −log(−log u) is Gumbel noise; that of u = 0, −∞, is a code that cannot be drawn.
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
        if step % record_every == 0 or step == steps:
            if not logits.isfinite().all():
                rates = f"learning_rate = {learning_rate}, temperature = {temperature}"
                raise InputError(f"codebook search, {rates}: the logits of step {step} are not finite")
            yield step, logits.detach().argmax(-1)


def optimise_embeddings(
    target_logits: TargetLogits,
    codebook: Tensor,
    start: Tensor,
    *,
    steps: int,
    record_every: int,
    learning_rate: float,
) -> Record:
    """Baseline: optimise the region's embedding vectors themselves, from the original ones ``start [B, p, d]``.

    Yields:
        The step and the nearest code of every vector, int64 ``[B, p]``.
    """
    region = start.clone().requires_grad_()
    adam = torch.optim.Adam([region], lr=learning_rate)
    for step in range(1, steps + 1):
        (region.grad,) = torch.autograd.grad(-target_logits(region).sum(), region)
        adam.step()
        if step % record_every == 0 or step == steps:
            yield step, nearest_codes(region.detach(), codebook)


def target_logits_with(
    extractor: nn.Module | RegionForward, embeddings: Tensor, targets: Tensor, region: Region
) -> TargetLogits:
    """The target logits ``[B]`` as a function of the region's embeddings ``[B, p, d]``, the rest of E fixed."""
    rows = region.top, region.top + region.height
    columns = region.left, region.left + region.width
    if isinstance(extractor, RegionForward):
        logits = extractor.around(embeddings, (rows, columns), targets)
    else:
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
    shards: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    sources: list[int],
    targets: list[int],
    top: int = 7,
    left: int = 7,
    height: int = 4,
    width: int = 4,
    images_per_class: int = 50,
    steps: int = 5000,
    record_every: int = 500,
    learning_rate: float = 0.01,
    temperature: float = 1.0,
    batch: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Search the codebook for tokens that make a region of an image read as another class, and run the baseline.

    Args:
        output: Parquet to write: key, method (token_selection or embedding), step, source, target, positions and
            tokens of the region, the target's logit before and after at the extractor.
        shards: tars of the test split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        sources: classes whose images are changed.
        targets: the class that each of them is changed to, in the same order.
        top: first row of the region, from 0.
        left: first column of the region, from 0.
        height: rows of the region.
        width: columns of the region.
        images_per_class: images of every source class, the first in the shards' order.
        steps: optimisation steps.
        record_every: steps between two records.
        learning_rate: of Adam.
        temperature: of the Gumbel-softmax.
        batch: images searched at once.
        seed: of the initial logits and the Gumbel noise; an image's are a function of it and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """

    def methods(part: Part) -> dict[str, Record]:
        return {
            "token_selection": select_tokens(
                part.target_logits,
                part.codebook,
                key_seeds(seed, PURPOSE, part.keys).tolist(),
                len(part.positions),
                steps=steps,
                record_every=record_every,
                learning_rate=learning_rate,
                temperature=temperature,
            ),
            "embedding": optimise_embeddings(
                part.target_logits,
                part.codebook,
                part.original,
                steps=steps,
                record_every=record_every,
                learning_rate=learning_rate,
            ),
        }

    region = Region(top, left, height, width)
    target_of = pair_up(sources, targets)
    found = search_images(
        shards, extractor, codebook, methods, target_of, region, images_per_class, batch, choose_device(device)
    )
    write_table(output, found)


def pair_up(sources: list[int], targets: list[int]) -> dict[int, int]:
    """The target of every source class.

    Raises:
        InputError: there is not one for each.
    """
    if len(sources) != len(targets):
        raise InputError(f"{len(sources)} source classes, {len(targets)} targets: one target for each is needed")
    return dict(zip(sources, targets, strict=True))


def search_images(
    shards: list[Path],
    extractor: Path,
    codebook: Path,
    methods: Callable[[Part], dict[str, Record]],
    target_of: dict[int, int],
    region: Region,
    images_per_class: int,
    batch: int,
    device: torch.device,
) -> pa.Table:
    """What ``methods`` find, by their names, in the first images of every source class: rows of :data:`SCHEMA`."""
    network, code_vectors = load_with_codebook(extractor, codebook, device)
    prepared = RegionForward(network) if isinstance(network, Convolutional) else network
    images = first_images(shards, target_of, images_per_class, len(code_vectors))
    height, width = images[0].grid.shape
    check_reads(extractor, (height, width), max(target_of.values()))
    if region.top + region.height > height or region.left + region.width > width:
        raise InputError(f"{region} does not fit in the grid of {height}×{width}")
    tables = []
    stacks = [images[start : start + batch] for start in range(0, len(images), batch)]
    for stack in progress(stacks, len(stacks), "codebook search", "batch"):
        part = _part(stack, prepared, code_vectors, target_of, region)
        searches = methods(part)
        with torch.no_grad():
            before = part.target_logits(part.original).tolist()
        for method, record in searches.items():
            for step, tokens in record:
                with torch.no_grad():
                    after = part.target_logits(code_vectors[tokens]).tolist()
                tables.append(
                    pa.table(
                        {
                            "key": part.keys,
                            "method": [method] * len(stack),
                            "step": [step] * len(stack),
                            "source": [image.label for image in stack],
                            "target": part.targets.tolist(),
                            "positions": [part.positions] * len(stack),
                            "tokens": tokens.tolist(),
                            "logit_before": before,
                            "logit_after": after,
                        }
                    ).cast(SCHEMA)
                )
    return pa.concat_tables(tables)


def _part(
    images: list[Sample],
    extractor: nn.Module | RegionForward,
    codebook: Tensor,
    target_of: dict[int, int],
    region: Region,
) -> Part:
    device = codebook.device
    grids = torch.from_numpy(np.stack([image.grid for image in images]).astype(np.int64)).to(device)
    targets = torch.tensor([target_of[image.label] for image in images], device=device)
    positions = region.positions(grids.shape[2])
    return Part(
        keys=[image.key for image in images],
        grids=grids,
        targets=targets,
        positions=positions,
        codebook=codebook,
        original=codebook[grids.flatten(1)[:, positions]],
        target_logits=target_logits_with(extractor, look_up(codebook, grids), targets, region),
    )
