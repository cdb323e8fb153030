"""Combinations: effects of removing tokens one by one, together, and in random orders (METHOD.md, section 9)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.progress import progress
from cortex.core.randomness import key_seeds, uniforms
from cortex.explain.rank_agreement import rank_correlation
from cortex.explain.ranks import ranks
from cortex.extractors.codebook import look_up
from cortex.studies.combinations.settings import Combinations
from cortex.studies.inputs import StudyInputs, on_device

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

    A removed position holds the mean of the codebook's vectors: it lies amid the vectors that
    the extractor has seen and is no code's own.

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
    """Drop of the label's logit when each position is removed in its order: ``[B, M, P]``, by position.

    The mean over all orders is the Shapley value; over orders drawn at random, an unbiased estimate of it (Castro et
    al., 2009). Over any one order the drops add up to the drop of removing all positions.

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


def rows(inputs: StudyInputs, settings: Combinations, *, seed: int, device: torch.device) -> pa.Table:
    """Compare token importance with the costs of removing tokens: one by one, together, on average over orders.

    A removed position holds the mean of the codebook's vectors. Methods choose the n positions to remove: "importance"
    the highest scores; "single" the highest costs of removing a position alone; "shapley" the highest Shapley values,
    the mean costs of removing a position after others, over random orders; "greedy" each the costliest after those
    before it; "random".

    Returns:
        key, label, measure, method, n, value. Measures, costs in logits of the label: "together" (removing the n
        positions at once), "alone" (the sum of removing each alone), "interaction" (together − alone),
        "beyond_random" (together − that of random positions), and, with n null, "correlation" of importance and of
        single with the Shapley values (Spearman's, over positions); for "shapley" it compares two halves of the
        orders, and so states the precision of the values.
    """
    network, codebook = inputs.load(device)
    images = inputs.first(settings.images_per_class)
    grids, labels = on_device(images, device)
    parts = []
    batches = np.array_split(np.arange(len(images)), -(-len(images) // 10))
    for batch in progress(batches, len(batches), "combinations", "batch"):
        removal = Removal(network, codebook, grids[batch], labels[batch], inputs.batch)
        keys = [images.keys[row] for row in batch]
        measured = _measures(removal, images.scores["importance"][batch], keys, settings.n, settings.pairs, seed)
        for (measure, method, size), values in measured.items():
            constant = {"measure": measure, "method": method, "n": size}
            of_measure = {name: [value] * len(batch) for name, value in constant.items()}
            columns = {"key": keys, "label": images.labels[batch], **of_measure, "value": values}
            parts.append(pa.table(columns).cast(SCHEMA))
    return pa.concat_tables(parts)


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
