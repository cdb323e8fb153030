"""Other attributions of the logit that the token importance score explains, to hold it against (METHOD.md, section 9).

The explained images' rows of every method are in one file, that of the importance among them.
"""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import read_table, write_table
from cortex.data.shard_reader import first_images
from cortex.explain import Attribution
from cortex.explain.importance import token_importance
from cortex.extractors.codebook import look_up
from cortex.extractors.network import load_with_codebook

IMPORTANCE = "importance"


def attribution(
    method: str,
    extractor: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    nothing: Tensor,
    seeds: list[int],
    *,
    samples: int = 20,
    noise: float = 0.2,
    reduction: Literal["max", "mean"] = "max",
    steps: int = 50,
) -> Tensor:
    """Scores ``[B, h, w]`` of every position for the label's logit f(E), signed: a high one speaks for the label.

    - ``gradient``: ∂f/∂E, reduced over channels as the importance is: that without its noise.
    - ``gradient_input``: E · ∂f/∂E, summed over channels: a position's part of the first-order change from zero.
    - ``integrated_gradients``: from an image that holds ``nothing`` everywhere, summed over channels. All positions'
      scores add up to f(E) − f(nothing) (Sundararajan et al., 2017).
    - ``smoothgrad_mean``: the importance's own noisy gradients, averaged over channels.
    - ``occlusion``: f(E) − f(E with ``nothing`` at the position); no channels to reduce.
    - ``random``: no explanation at all, but the image level's random positions.

    Args:
        method: one of these.
        extractor: in eval mode, its weights without gradients.
        embeddings: E, ``[B, d, h, w]``.
        labels: int64 ``[B]``.
        nothing: what a position holds that says nothing, ``[d]``.
        seeds: one an image: of the noise, or of the random order.
        samples, noise: of SmoothGrad; occlusion, too, takes so many copies of an image at once.
        reduction: that of the importance over the d channels.
        steps: of the Gauss–Legendre quadrature of the integral.

    Raises:
        InputError: no such method.
    """
    height, width = embeddings.shape[2:]
    inputs, emptied = embeddings.detach().clone().requires_grad_(), nothing[None, :, None, None].expand_as(embeddings)
    match method:
        case "gradient":
            gradients = Saliency(extractor).attribute(inputs, target=labels, abs=False)
            return gradients.amax(1) if reduction == "max" else gradients.mean(1)
        case "gradient_input":
            return InputXGradient(extractor).attribute(inputs, target=labels).sum(1).detach()
        case "integrated_gradients":
            integrated = IntegratedGradients(extractor).attribute(
                inputs, emptied, labels, n_steps=steps, internal_batch_size=samples * len(inputs)
            )
            return integrated.sum(1).detach()
        case "smoothgrad_mean":
            return token_importance(
                extractor, embeddings, labels, seeds, samples=samples, noise=noise, reduction="mean"
            )
        case "occlusion":
            positions = torch.arange(height * width, device=embeddings.device).view(1, 1, height, width)
            falls = FeatureAblation(extractor).attribute(
                embeddings, emptied[:1], labels, feature_mask=positions, perturbations_per_eval=samples
            )
            return falls[:, 0]  # the same in every channel
        case "random":
            order = uniforms(np.array(seeds, np.uint64), height * width)
            return torch.from_numpy(order).float().view(-1, height, width)
        case _:
            raise InputError(f"method {method!r}: allowed: {', '.join(get_args(Attribution))}")


def attribute_images(
    output: Path,
    shards: list[Path],
    importance: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    methods: list[str],
    classes: list[int],
    images_per_class: int,
    steps: int = 50,
    samples: int = 20,
    noise: float = 0.2,
    reduction: Literal["max", "mean"] = "max",
    batch: int = 25,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Score the positions of some images of every class by other attributions, beside their token importance.

    A position that says nothing (occlusion, and where integrated gradients start) holds the mean of the codebook's
    vectors: in the midst of what an extractor has seen, and no code's own. Zero need not be anywhere near a code.

    Args:
        output: Parquet to write, a row an image and method, importance first: key, label, method, scores (h·w
            float32, row-major).
        shards: tars of the test split.
        importance: their importance files, in the same order.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        methods: gradient (signed, reduced over channels as the importance is), gradient_input and
            integrated_gradients (both summed over channels), smoothgrad_mean (the importance's noisy gradients, their
            mean over channels), occlusion (of one token), random.
        classes: class indices.
        images_per_class: images of every class, the first in the shards' order.
        steps: of the integral of integrated gradients.
        samples: noisy copies of every image (SmoothGrad), as many as the importance was computed with.
        noise: their standard deviation, in units of (max − min) of the image's embedding.
        reduction: of the importance over the channels of a position: max (published) or mean.
        batch: images at once.
        seed: of the noise and of random; an image's are functions of it and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)
    images = first_images(shards, classes, images_per_class, len(code_vectors))
    keys = [image.key for image in images]
    grids = torch.from_numpy(np.stack([image.grid for image in images]).astype(np.int64)).to(on)
    labels = torch.tensor([image.label for image in images], device=on)
    known = _importance_of(keys, importance, grids[0].numel())
    purposes = {method: "random positions" if method == "random" else IMPORTANCE for method in methods}
    seeds = {method: key_seeds(seed, purpose, keys).tolist() for method, purpose in purposes.items()}
    scores: dict[str, list[Tensor]] = {method: [] for method in methods}
    parts = torch.arange(len(images)).split(batch)
    for rows in progress(parts, len(parts), "attributions", "batch"):
        embeddings = look_up(code_vectors, grids[rows])
        for method in methods:
            of_method = attribution(
                method,
                network,
                embeddings,
                labels[rows],
                code_vectors.mean(0),
                [seeds[method][row] for row in rows],
                samples=samples,
                noise=noise,
                reduction=reduction,
                steps=steps,
            )
            scores[method].append(of_method.flatten(1).cpu())
    flat = np.stack([known, *(torch.cat(scores[method]).numpy() for method in methods)])
    columns = {
        "key": pa.array(keys * len(flat)),
        "label": pa.array(np.tile(labels.cpu().numpy(), len(flat)), pa.int32()),
        "method": pa.array(np.repeat([IMPORTANCE, *methods], len(images))),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel(), pa.float32()), flat.shape[2]),
    }
    write_table(output, pa.table(columns))


def _importance_of(keys: list[str], importance: list[Path], positions: int) -> NDArray[np.float32]:
    """The importance ``[N, P]`` of some images, in the keys' order.

    Raises:
        InputError: a file is damaged or of other grids, or none has an image.
    """
    of_key: dict[str, list[float]] = {}
    for path in importance:
        table = read_table(path, ["key", "importance"])
        stated = table["importance"].type.list_size
        if stated != positions:
            raise InputError(f"{path}: {stated} scores an image, the grids have {positions} positions")
        rows = table.filter(pc.is_in(table["key"], pa.array(keys)))
        of_key.update(zip(rows["key"].to_pylist(), rows["importance"].to_pylist(), strict=True))
    if missing := [key for key in keys if key not in of_key]:
        raise InputError(f"{importance[0].parent}: no importance of image {missing[0]!r}")
    return np.array([of_key[key] for key in keys], np.float32)
