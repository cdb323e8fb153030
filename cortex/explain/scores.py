"""Scores of images by attributions: of a shard for the run, of some images of every class to compare methods."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.tokens import Tokens, read_tokens, write_tokens
from cortex.explain import ATTRIBUTIONS, IMPORTANCE, TIS
from cortex.explain.context import AttributionContext
from cortex.explain.settings import Importance
from cortex.extractors.codebook import look_up
from cortex.extractors.network import check_reads, load_with_codebook

Attribution = Callable[[nn.Module, Tensor, Tensor, AttributionContext], Tensor]


def score_images(
    method: str,
    extractor: nn.Module,
    codebook: Tensor,
    images: Tokens,
    settings: Importance,
    *,
    seed: int = 0,
    stream: str = IMPORTANCE,
    what: str = "",
) -> NDArray[np.float32]:
    """Scores of the positions of images by one attribution, batch after batch.

    Args:
        method: an attribution, a registered name or module:function.
        extractor: in eval mode, its weights without gradients.
        codebook: float ``[K, d]``, on the extractor's device.
        images: tokens, labels and keys.
        settings: of the scores, and the images of one backward pass.
        seed: seed of the noise, together with an image's key.
        stream: name of the noise's random numbers.
        what: name of the progress bar; that of the method if empty.

    Returns:
        ``[N, P]``.

    Raises:
        InputError: there is no such attribution, or its scores have another shape.
    """
    function: Attribution = ATTRIBUTIONS.load(method)
    grids, labels = _grids(images, codebook.device), torch.from_numpy(images.labels).to(codebook.device)
    parts = torch.arange(len(images)).split(settings.batch)
    found = []
    for rows in progress(parts, len(parts), what or f"scores, {method}", "batch"):
        context = AttributionContext(
            nothing=codebook.mean(0),
            codebook=codebook,
            grids=grids[rows].long(),
            keys=[images.keys[row] for row in rows],
            seed=seed,
            samples=settings.samples,
            noise=settings.noise,
            reduction=settings.reduction,
            steps=settings.steps,
            stream=stream,
        )
        embeddings = look_up(codebook, grids[rows])
        scores = function(extractor, embeddings, labels[rows], context).detach()
        if scores.shape != (len(rows), *images.shape):
            expected = [len(rows), *images.shape]
            raise InputError(f"attribution {method}: scores of shape {list(scores.shape)}; expected: {expected}")
        found.append(scores.flatten(1))
    flat: NDArray[np.float32] = torch.cat(found).float().cpu().numpy()
    return flat


def explain_shard(
    output: Path,
    tokens: Path,
    extractor: Path,
    codebook: Path,
    *,
    method: str = TIS,
    settings: Importance,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Compute the token importance of every image of a token table.

    Args:
        output: token table to write: key, label, tokens, predicted (class of the highest logit, int32),
            importance (h·w float32, row-major).
        tokens: token table.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        method: attribution that scores the positions, a registered name or module:function; tis is published.
        settings: settings of the scores.
        seed: seed of the noise. The noise of an image is a function of the seed and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)
    images = read_tokens(tokens, codes=len(code_vectors))
    check_reads(extractor, images.shape, int(images.labels.max()))
    scores = score_images(method, network, code_vectors, images, settings, seed=seed)
    with torch.inference_mode():
        batches = _grids(images, on).split(settings.batch)
        parts = [network(look_up(code_vectors, part)).argmax(1) for part in batches]
    predicted = pa.array(torch.cat(parts).cpu().numpy(), pa.int32())
    explained = replace(images, scores={IMPORTANCE: scores})
    write_tokens(output, explained, {"predicted": predicted})


def attribute_images(
    output: Path,
    tokens: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    methods: list[str],
    images_per_class: int,
    importance: Importance,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Score the positions of some images of every class by the token importance score and by other attributions.

    Args:
        output: Parquet to write, a row an image and method, tis first: key, label, method, scores (h·w float32,
            row-major).
        tokens: token tables of the test split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        methods: attributions beside tis: registered names, or module:function.
        images_per_class: images of every class, the first in the files' order.
        importance: settings of the scores, for all methods.
        seed: seed of the noise and of the method random, together with the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    network, code_vectors = load_with_codebook(extractor, codebook, choose_device(device))
    images = read_tokens(tokens, codes=len(code_vectors))
    images = images.take(images.first(images_per_class))
    compared = list(dict.fromkeys([TIS, *methods]))
    found = [score_images(method, network, code_vectors, images, importance, seed=seed) for method in compared]
    flat = np.stack(found)
    columns = {
        "key": pa.array(images.keys * len(flat)),
        "label": pa.array(np.tile(images.labels, len(flat)), pa.int32()),
        "method": pa.array(np.repeat(compared, len(images))),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[2]),
    }
    write_table(output, pa.table(columns))


def _grids(images: Tokens, device: torch.device) -> Tensor:
    """Token grids int32 ``[N, h, w]`` on a device."""
    return torch.from_numpy(images.tokens.astype(np.int32).reshape(-1, *images.shape)).to(device)
