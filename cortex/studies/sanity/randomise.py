"""Sanity: do token importance scores depend on the learned weights? (Adebayo et al., NeurIPS 2018)"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from cortex.core.randomness import key_seeds
from cortex.data.tokens import Tokens
from cortex.explain.rank_agreement import own_rank_correlation, rank_correlation
from cortex.explain.ranks import ranks
from cortex.explain.scores import score_images
from cortex.extractors.network import learned, load_extractor, untrained_extractor
from cortex.studies.inputs import StudyInputs
from cortex.studies.sanity.settings import Sanity

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
    the layer before it. Weights outside of any module (class token, positions) belong to the first layer.
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


def rows(inputs: StudyInputs, settings: Sanity, *, seed: int, device: torch.device) -> pa.Table:
    """Compare the scores of images with the scores of extractors that learned nothing.

    Tests: "trained" is the extractor itself, the upper bound of the correlation; "randomised" gives it new weights
    layer by layer from the output to the input, and compares after each; "shuffled" is an extractor that was trained
    on shuffled labels. New weights are those of an untrained network, its normalisations' statistics included. All
    tests use other noise than the real scores: the same noise alone makes scores alike.

    Returns:
        For every image, test and layer three rows: key, label, test, step (0 to the number of layers), layer (the
        last one randomised), measure, n, value. Measures: "correlation" with the real scores (Spearman's, over
        positions); "own_correlation", the same after subtracting each position's mean rank over the images;
        "even_share", the share of the top-n positions on even rows and columns (n is null for the others).
    """
    trained, codebook = inputs.load(device)
    images = inputs.first(settings.images_per_class)

    def scores(network: nn.Module, of: str) -> NDArray[np.float32]:
        settings, what = inputs.importance, f"scores, {of}"
        return score_images(
            inputs.attribution, network, codebook, images, settings, seed=seed, stream="other noise", what=what
        )

    tables = [_measured(images, "trained", 0, None, scores(trained, "as trained"), settings.top_n)]
    if "shuffled" in inputs.extra:
        of_shuffled = scores(load_extractor(inputs.extra["shuffled"], device), "shuffled")
        tables.append(_measured(images, "shuffled", 0, None, of_shuffled, settings.top_n))
    new_weights = int(key_seeds(seed, "randomised weights", [""])[0] >> np.uint64(1))
    untrained = untrained_extractor(inputs.extractor, device, new_weights)
    for step, layer in enumerate(randomise_from_output(learned(trained), learned(untrained)), start=1):
        of_layer = scores(trained, f"{layer} new")
        tables.append(_measured(images, "randomised", step, layer, of_layer, settings.top_n))
    return pa.concat_tables(tables)


def _measured(
    images: Tokens, test: str, step: int, layer: str | None, scores: NDArray[np.float32], top_n: int
) -> pa.Table:
    """The measures of every image's scores ``[N, P]``."""
    measures = {
        "correlation": rank_correlation(scores, images.scores["importance"]),
        "own_correlation": own_rank_correlation(scores, images.scores["importance"]),
        "even_share": even_share(scores, images.shape[1], top_n),
    }
    count, times = len(images), len(measures)
    return pa.table(
        {
            "key": images.keys * times,
            "label": np.tile(images.labels, times),
            "test": [test] * times * count,
            "step": [step] * times * count,
            "layer": [layer] * times * count,
            "measure": np.repeat(list(measures), count),
            "n": [top_n if measure == "even_share" else None for measure in measures for _ in range(count)],
            "value": np.concatenate(list(measures.values())),
        }
    ).cast(SCHEMA)
