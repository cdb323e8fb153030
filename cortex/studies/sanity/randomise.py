"""Sanity: do token importance scores depend on what the extractor has learned? (Adebayo et al., NeurIPS 2018)"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import nn

from cortex.core.device import choose_device
from cortex.core.randomness import key_seeds
from cortex.core.tables import write_table
from cortex.explain.explained import ranks
from cortex.explain.importance import grid_importance
from cortex.extractors.network import load_extractor, load_with_codebook, untrained_extractor
from cortex.studies.agreement import own_rank_correlation, rank_correlation
from cortex.studies.subset import Subset, read_subset

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("test", pa.string()),
        ("step", pa.int32()),
        ("layer", pa.string()),
        ("measure", pa.string()),
        ("n", pa.int32()),
        ("value", pa.float64()),
    ]
)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)


def weight_layers(network: nn.Module) -> dict[str, list[str]]:
    """Names of a network's weights and statistics by layer, from input to output.

    A layer is a module of the network or, where that is a list of modules, one of these; a normalisation belongs to
    the layer before it. What is the network's own (class token, positions) comes with its first layer.
    """
    parts = []
    for name, child in network.named_children():
        inside = child.named_children() if isinstance(child, nn.Sequential | nn.ModuleList) else [("", child)]
        parts += [(f"{name}.{inner}".rstrip("."), module) for inner, module in inside]
    layers: dict[str, list[str]] = {}
    for name, module in parts:
        weights = [f"{name}.{weight}" for weight in module.state_dict()]
        if isinstance(module, NORMS) and layers:
            layers[next(reversed(layers))] += weights
        elif weights:
            layers[name] = weights
    layers[next(iter(layers))] += [name for name in network.state_dict() if "." not in name]
    return layers


def randomise_from_output(network: nn.Module, untrained: nn.Module) -> Iterator[str]:
    """Give a network another's weights, layer by layer from the output to the input; yields the layer just replaced."""
    state, new = network.state_dict(), untrained.state_dict()  # state_dict gives the network's own tensors
    for layer, weights in reversed(weight_layers(network).items()):
        for weight in weights:
            state[weight].copy_(new[weight])
        yield layer


def even_share(scores: NDArray[np.floating], width: int, n: int) -> NDArray[np.float64]:
    """Share 0..1 of the n highest positions of every image that stand on an even row and an even column, ``[N]``.

    A stride of 2 reads these alone where its kernel is 1×1; about a quarter of all positions are such.

    Args:
        scores: ``[N, P]``, row-major.
        width: columns of the grid.
        n: positions of an image.
    """
    rows, columns = np.divmod(np.arange(scores.shape[1]), width)
    even = (rows % 2 == 0) & (columns % 2 == 0)
    return ((ranks(scores) < n) & even).sum(1) / n


def randomise(
    output: Path,
    shards: list[Path],
    importance: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    shuffled: Path | None = None,
    images_per_class: int = 10,
    top_n: int = 5,
    samples: int = 20,
    noise: float = 0.2,
    reduction: Literal["max", "mean"] = "max",
    batch: int = 25,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Compare the scores of images with those of extractors that know nothing: scores that explain must differ.

    Tests: "trained" is the extractor itself, which shows how much correlation there can be; "randomised" gives it new
    weights layer by layer from the output to the input, and compares after each; "shuffled" is an extractor that
    learned shuffled labels. New weights are those of an untrained network, its normalisations' statistics included.
    All of them see noise that the real scores were not made with: the same noise alone makes scores alike.

    Args:
        output: Parquet to write, for every image, test and layer three rows: key, label, test, step (0 to the number
            of layers), layer (the last one randomised), measure, n, value. Measures: "correlation" with the real
            scores (Spearman's, over positions), "own_correlation", the same of what is the image's own, not all
            images' alike, and "even_share", of the top-n positions those on an even row and column (for the others,
            n is null).
        shards: tars of the test split.
        importance: their importance files, in the same order.
        extractor: weights of the extractor that made them.
        codebook: the generator's codebook.
        shuffled: weights of the same extractor, trained on shuffled labels.
        images_per_class: images of every class, the first in the shards' order.
        top_n: highest positions of an image for even_share.
        samples: noisy copies of every image (SmoothGrad).
        noise: their standard deviation, in units of (max − min) of the image's embedding.
        reduction: of the gradient over the channels of a position: max (published) or mean.
        batch: images of one backward pass.
        seed: of noise and new weights.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    trained, code_vectors = load_with_codebook(extractor, codebook, on)
    subset = read_subset(shards, importance, images_per_class, len(code_vectors))
    grids, labels = subset.on(on)

    seeds = key_seeds(seed, "other noise", subset.keys).tolist()

    def scores(network: nn.Module, what: str) -> NDArray[np.float32]:
        return grid_importance(
            network,
            code_vectors,
            grids,
            labels,
            seeds,
            samples=samples,
            noise=noise,
            reduction=reduction,
            batch=batch,
            what=f"importance, {what}",
        )

    tables = [_rows(subset, "trained", 0, None, scores(trained, "as trained"), top_n)]
    if shuffled is not None:
        tables.append(_rows(subset, "shuffled", 0, None, scores(load_extractor(shuffled, on), "shuffled"), top_n))
    new_weights = int(key_seeds(seed, "randomised weights", [""])[0] >> np.uint64(1))
    untrained = untrained_extractor(extractor, on, new_weights)
    for step, layer in enumerate(randomise_from_output(trained, untrained), start=1):
        tables.append(_rows(subset, "randomised", step, layer, scores(trained, f"{layer} new"), top_n))
    write_table(output, pa.concat_tables(tables))


def _rows(subset: Subset, test: str, step: int, layer: str | None, scores: NDArray[np.float32], top_n: int) -> pa.Table:
    """The measures of every image's scores ``[N, P]``."""
    measures = {
        "correlation": rank_correlation(scores, subset.importance),
        "own_correlation": own_rank_correlation(scores, subset.importance),
        "even_share": even_share(scores, subset.grids.shape[2], top_n),
    }
    images, times = len(subset.keys), len(measures)
    return pa.table(
        {
            "key": subset.keys * times,
            "label": np.tile(subset.labels, times),
            "test": [test] * times * images,
            "step": [step] * times * images,
            "layer": [layer] * times * images,
            "measure": np.repeat(list(measures), images),
            "n": [top_n if measure == "even_share" else None for measure in measures for _ in range(images)],
            "value": np.concatenate(list(measures.values())),
        }
    ).cast(SCHEMA)
