"""Combinations: what tokens are worth together, by removing them (METHOD.md, section 9)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import write_table
from cortex.explain.explained import ranks
from cortex.extractors.codebook import look_up
from cortex.extractors.network import load_with_codebook
from cortex.studies.agreement import rank_correlation
from cortex.studies.subset import read_subset

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("measure", pa.string()),
        ("method", pa.string()),
        ("n", pa.int32()),
        ("value", pa.float64()),
    ]
)


class Removal:
    """The label's logit of images of which some tokens are removed.

    A removed position holds the mean of the codebook's vectors: in the midst of what the extractor has seen, and no
    code's own.

    Args:
        extractor: in eval mode.
        codebook: ``[K, d]``.
        grids: tokens ``[B, h, w]``.
        labels: int64 ``[B]``.
        batch: images that the extractor sees at once.
    """

    def __init__(self, extractor: nn.Module, codebook: Tensor, grids: Tensor, labels: Tensor, batch: int):
        self.extractor, self.codebook, self.labels, self.batch = extractor, codebook, labels, batch
        self.grids, self.nothing = grids, codebook.mean(0)
        self.positions = grids[0].numel()

    @torch.inference_mode()
    def logits(self, removed: Tensor) -> Tensor:
        """Logits ``[B, C]`` for every set of positions of bool ``[B, C, P]``."""
        images, sets = removed.shape[:2]
        rows = torch.arange(images * sets, device=removed.device)
        flat, found = removed.flatten(0, 1).unflatten(1, self.grids.shape[1:]), []
        for part in rows.split(self.batch):
            of_image = part // sets
            kept = look_up(self.codebook, self.grids[of_image])
            embeddings = torch.where(flat[part][:, None], self.nothing[:, None, None], kept)
            found.append(self.extractor(embeddings).gather(1, self.labels[of_image, None])[:, 0])
        return torch.cat(found).view(images, sets)


def shapley_drops(removal: Removal, orders: Tensor) -> Tensor:
    """What removing each position costs the label's logit when it comes in its order: ``[B, M, P]``, by position.

    The mean over all orders is the Shapley value; over orders drawn at random, an unbiased estimate of it (Castro et
    al., 2009). Over any one order the costs add up to what removing all positions costs.

    Args:
        removal: of B images.
        orders: permutations of the positions, int64 ``[B, M, P]``.
    """
    place = orders.argsort(2)
    steps = torch.arange(orders.shape[2] + 1, device=orders.device)
    removed = place[:, :, None, :] < steps[:, None]  # [B, M, P + 1, P]
    logits = removal.logits(removed.flatten(1, 2)).unflatten(1, removed.shape[1:3])
    return (logits[:, :, :-1] - logits[:, :, 1:]).gather(2, place)


def greedy_order(removal: Removal, n: int) -> Tensor:
    """Positions ``[B, n]``, each the one whose removal lowers the logit most, after those before it."""
    images, device = len(removal.grids), removal.grids.device
    removed = torch.zeros(images, removal.positions, dtype=torch.bool, device=device)
    each = torch.eye(removal.positions, dtype=torch.bool, device=device)
    order = []
    for _ in range(n):
        logits = removal.logits(removed[:, None] | each)
        order.append(logits.masked_fill(removed, torch.inf).argmin(1))
        removed = removed.scatter(1, order[-1][:, None], True)
    return torch.stack(order, 1)


def permutations(seeds: NDArray[np.uint64], pairs: int, positions: int) -> NDArray[np.int64]:
    """Orders of the positions ``[B, 2 · pairs, P]`` for every seed: ``pairs`` at random, then each of them backwards.

    A position that comes early in an order comes late in its reverse, so that their errors partly cancel.
    """
    drawn = uniforms(seeds, pairs * positions).reshape(len(seeds), pairs, positions).argsort(2, kind="stable")
    return np.concatenate([drawn, drawn[:, :, ::-1]], axis=1)


def measure_combinations(
    output: Path,
    shards: list[Path],
    importance: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    n: list[int],
    pairs: int = 10,
    images_per_class: int = 5,
    batch: int = 100,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Hold token importance against what removing tokens costs the extractor: one by one, together, on average.

    A removed position holds the mean of the codebook's vectors. Methods choose the n positions to remove: "importance"
    the highest scores; "single" the highest costs of removing a position alone; "shapley" the highest Shapley values,
    the mean costs of removing a position after others, over random orders; "greedy" each the costliest after those
    before it; "random".

    Args:
        output: Parquet to write: key, label, measure, method, n, value. Measures, costs in logits of the label:
            "together" (removing the n positions at once), "alone" (the sum of removing each alone), "interaction"
            (together − alone), "beyond_random" (together − that of random positions), and, with n null, "correlation"
            of importance and of single with the Shapley values (Spearman's, over positions); that of "shapley" is
            between the values of two halves of the orders, which is how well they are known.
        shards: tars of the test split.
        importance: their importance files, in the same order.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        n: how many positions to remove; one result for each.
        pairs: pairs of random orders, each of which goes with its reverse.
        images_per_class: images of every class, the first in the shards' order.
        batch: images that the extractor sees at once.
        seed: of the orders and the random positions.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)
    subset = read_subset(shards, importance, images_per_class, len(code_vectors))
    grids, labels = subset.on(on)
    parts = []
    rows_of_batches = np.array_split(np.arange(len(grids)), -(-len(grids) // 10))
    for rows in progress(rows_of_batches, len(rows_of_batches), "combinations", "batch"):
        removal = Removal(network, code_vectors, grids[rows], labels[rows], batch)
        keys = [subset.keys[row] for row in rows]
        measured = _measures(removal, subset.importance[rows], keys, n, pairs, seed)
        for (measure, method, size), values in measured.items():
            constant = {"measure": measure, "method": method, "n": size}
            columns = {name: [value] * len(rows) for name, value in constant.items()}
            parts.append(pa.table({"key": keys, "label": subset.labels[rows], **columns, "value": values}).cast(SCHEMA))
    write_table(output, pa.concat_tables(parts))


def _measures(
    removal: Removal, importance: NDArray[np.float32], keys: Sequence[str], n: Sequence[int], pairs: int, seed: int
) -> dict[tuple[str, str, int | None], NDArray[np.float64]]:
    """By measure, method and n, a value for every image of a batch."""
    device, positions = removal.grids.device, removal.positions
    orders = permutations(key_seeds(seed, "removal orders", keys), pairs, positions)
    drops = shapley_drops(removal, torch.from_numpy(orders).to(device))
    of_pairs = drops.unflatten(1, (2, pairs)).mean(1).double().cpu().numpy()
    shapley, halves = of_pairs.mean(1), [half.mean(1) for half in np.array_split(of_pairs, 2, axis=1)]
    none = torch.zeros(len(keys), 1, positions, dtype=torch.bool, device=device)
    whole = removal.logits(none)
    each = torch.eye(positions, dtype=torch.bool, device=device)
    single = (whole - removal.logits(each.expand(len(keys), -1, -1))).double().cpu().numpy()
    random = uniforms(key_seeds(seed, "random positions", keys), positions)
    greedy = np.full((len(keys), positions), positions)
    np.put_along_axis(greedy, greedy_order(removal, max(n)).cpu().numpy(), np.arange(max(n))[None], axis=1)
    place = {"importance": ranks(importance), "single": ranks(single), "shapley": ranks(shapley), "greedy": greedy}
    place["random"] = ranks(random)
    masks = {(method, size): rank < size for method, rank in place.items() for size in n}
    removed = torch.from_numpy(np.stack(list(masks.values()), axis=1)).to(device)
    together = (whole - removal.logits(removed)).double().cpu().numpy()
    at = dict(zip(masks, together.T, strict=True))
    values: dict[tuple[str, str, int | None], NDArray[np.float64]] = {
        ("correlation", "importance", None): rank_correlation(importance, shapley),
        ("correlation", "single", None): rank_correlation(single, shapley),
        ("correlation", "shapley", None): rank_correlation(*halves),
    }
    for (method, size), mask in masks.items():
        alone = (single * mask).sum(1)
        values["together", method, size] = at[method, size]
        values["alone", method, size] = alone
        values["interaction", method, size] = at[method, size] - alone
        if method != "random":
            values["beyond_random", method, size] = at[method, size] - at["random", size]
    return values
