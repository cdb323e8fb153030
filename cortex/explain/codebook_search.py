"""Codebook-level explanation: which codes make a region of an image read as a chosen concept (section 5)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from cortex.device import choose_device
from cortex.errors import InputError
from cortex.extractors.codebook import load_codebook, look_up
from cortex.extractors.network import load_extractor
from cortex.generate.nearest import nearest_codes
from cortex.progress import progress
from cortex.randomness import key_seeds
from cortex.shards.read import Sample, read_shard
from cortex.tables import write_table

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

    Yields:
        The step and the most probable code of every position, int64 ``[B, p]``.
    """
    random = [torch.Generator(codebook.device).manual_seed(seed) for seed in seeds]
    logits = torch.empty(len(seeds), positions, len(codebook), device=codebook.device)
    noise = torch.empty_like(logits)
    for image, generator in enumerate(random):
        torch.randn(logits.shape[1:], generator=generator, out=logits[image])
    logits.requires_grad_()
    adam = torch.optim.Adam([logits], lr=learning_rate, fused=True)
    for step in range(1, steps + 1):
        for image, generator in enumerate(random):
            noise[image].exponential_(generator=generator)
        with torch.no_grad():
            perturbed = (logits - noise.log_()) / temperature  # −log of an exponential number is Gumbel noise
            region = codebook[perturbed.argmax(-1)].requires_grad_()
        (gradient,) = torch.autograd.grad(-target_logits(region).sum(), region)
        with torch.no_grad():
            soft = perturbed.softmax(-1)
            of_soft = gradient @ codebook.T
            of_soft -= (soft * of_soft).sum(-1, keepdim=True)
            logits.grad = of_soft.mul_(soft).div_(temperature)
        adam.step()
        if step % record_every == 0 or step == steps:
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


def target_logits_with(extractor: nn.Module, embeddings: Tensor, targets: Tensor, region: Region) -> TargetLogits:
    """The target logits ``[B]`` as a function of the region's embeddings ``[B, p, d]``, the rest of E fixed."""
    rows = slice(region.top, region.top + region.height)
    columns = slice(region.left, region.left + region.width)

    def target_logits(inside: Tensor) -> Tensor:
        whole = embeddings.clone()
        whole[:, :, rows, columns] = inside.transpose(1, 2).unflatten(2, (region.height, region.width))
        return extractor(whole).gather(1, targets[:, None])[:, 0]

    return target_logits


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
    if len(sources) != len(targets):
        raise InputError(f"{len(sources)} source classes, {len(targets)} targets: one target for each is needed")
    on = choose_device(device)
    network, code_vectors = load_extractor(extractor, on), load_codebook(codebook, on)
    region = Region(top, left, height, width)
    images = _first_images(shards, dict(zip(sources, targets, strict=True)), images_per_class, len(code_vectors))
    grid_height, grid_width = images[0].grid.shape
    if top + height > grid_height or left + width > grid_width:
        raise InputError(f"{region} does not fit in the grid of {grid_height}×{grid_width}")
    target_of = dict(zip(sources, targets, strict=True))
    tables = []
    parts = [images[start : start + batch] for start in range(0, len(images), batch)]
    for part in progress(parts, len(parts), "codebook search", "batch"):
        grids = torch.from_numpy(np.stack([image.grid for image in part]).astype(np.int64)).to(on)
        goals = torch.tensor([target_of[image.label] for image in part], device=on)
        embeddings = look_up(code_vectors, grids)
        target_logits = target_logits_with(network, embeddings, goals, region)
        positions = region.positions(grid_width)
        original = code_vectors[grids.flatten(1)[:, positions]]
        searches = {
            "token_selection": select_tokens(
                target_logits,
                code_vectors,
                key_seeds(seed, "codebook search", [image.key for image in part]).tolist(),
                len(positions),
                steps=steps,
                record_every=record_every,
                learning_rate=learning_rate,
                temperature=temperature,
            ),
            "embedding": optimise_embeddings(
                target_logits,
                code_vectors,
                original,
                steps=steps,
                record_every=record_every,
                learning_rate=learning_rate,
            ),
        }
        with torch.no_grad():
            before = target_logits(original).tolist()
        for method, record in searches.items():
            for step, tokens in record:
                with torch.no_grad():
                    after = target_logits(code_vectors[tokens]).tolist()
                tables.append(
                    pa.table(
                        {
                            "key": [image.key for image in part],
                            "method": [method] * len(part),
                            "step": [step] * len(part),
                            "source": [image.label for image in part],
                            "target": goals.tolist(),
                            "positions": [positions] * len(part),
                            "tokens": tokens.tolist(),
                            "logit_before": before,
                            "logit_after": after,
                        }
                    ).cast(SCHEMA)
                )
    write_table(output, pa.concat_tables(tables))


def _first_images(shards: list[Path], target_of: dict[int, int], per_class: int, codes: int) -> list[Sample]:
    """The first images of every source class, in the shards' order."""
    wanted = dict.fromkeys(target_of, per_class)
    found = []
    for shard in shards:
        for sample in read_shard(shard, codes=codes):
            if wanted.get(sample.label, 0) > 0:
                wanted[sample.label] -= 1
                found.append(sample)
    short = {label: per_class - missing for label, missing in wanted.items() if missing}
    if short:
        raise InputError(f"{shards[0].parent}: {short} images of these classes; {per_class} of each are needed")
    return found
