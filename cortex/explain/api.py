"""The explanations as functions of values: for notebooks and programs (METHOD.md, sections 4 and 5)."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import torch
from torch import Tensor, nn

from cortex.core.errors import InputError, quoted
from cortex.data.tokens import Tokens
from cortex.explain import IMPORTANCE, TIS
from cortex.explain.codebook_search import check_fits, prepare, search_part, token_selection
from cortex.explain.concept_tokens import concept_table
from cortex.explain.scores import score_images
from cortex.explain.settings import ConceptTokens, Importance, Region, SearchOptimisation


def importance(
    extractor: nn.Module,
    codebook: Tensor,
    images: Tokens,
    settings: Importance | None = None,
    *,
    method: str = TIS,
    seed: int = 0,
) -> Tokens:
    """The images with the importance of their tokens: ``scores["importance"]``, float32 ``[N, P]``.

    Args:
        extractor: network in eval mode, its weights without gradients.
        codebook: float ``[K, d]``, on the extractor's device.
        images: tokens and labels of images.
        settings: noisy copies, noise, reduction, steps, batch; the paper's if not given.
        method: attribution, a registered name or module:function; tis is the published token importance score.
        seed: seed of the noise, together with the image's key.

    Example:
        >>> run = cortex.open_run("results/landuse")
        >>> test = run.tokens("test").take(range(10))
        >>> scored = cortex.importance(run.extractor("cnn"), run.codebook(), test)
        >>> scored.scores["importance"].shape
        (10, 64)
    """
    scores = score_images(method, extractor, codebook, images, settings or Importance(), seed=seed)
    return replace(images, scores={**images.scores, IMPORTANCE: scores})


def concept_tokens(images: Tokens, settings: ConceptTokens | None = None) -> pa.Table:
    """Concept tokens of every label: the codes that most often stand among an image's most important positions.

    The list ``count`` has the most counted codes first. The list ``contrast`` begins with the codes that stand there
    more often than in images of other labels, by the largest difference.

    Args:
        images: images with ``scores["importance"]``, as :func:`importance` returns them.
        settings: numbers of positions that count, and tokens to keep; the paper's if not given.

    Returns:
        Columns label, top_n, list, rank (from 0), token, count, share (of the label's positions that hold the token).

    Raises:
        InputError: the images have no importance.
    """
    if IMPORTANCE not in images.scores:
        raise InputError(f"images without importance: they have the scores {quoted(sorted(images.scores))}")
    return concept_table([images], int(images.tokens.max()) + 1, settings or ConceptTokens())


def search(
    extractor: nn.Module,
    codebook: Tensor,
    images: Tokens,
    targets: int | Sequence[int],
    region: Region,
    optimisation: SearchOptimisation | None = None,
    *,
    seed: int = 0,
) -> Tokens:
    """The images with other tokens in a region, found by a search for the extractor's target class.

    The search is token selection; the most probable tokens of the last step are taken.

    Args:
        extractor: network in eval mode, its weights without gradients.
        codebook: float ``[K, d]``, on the extractor's device.
        images: tokens of images.
        targets: target class of all images, or a class for every image.
        region: rows and columns of the grid to change.
        optimisation: steps, learning rate, temperature; the paper's if not given.
        seed: seed of the initial logits and the Gumbel noise, together with the image's key.

    Raises:
        InputError: the region reaches beyond the grid, or there are not as many targets as images.
    """
    check_fits(region, images.layout.tilings[-1])
    wanted = [targets] * len(images) if isinstance(targets, int) else list(targets)
    if len(wanted) != len(images):
        raise InputError(f"{len(wanted)} targets; there are {len(images)} images")
    grids = torch.from_numpy(images.grids).to(codebook.device)
    goals = torch.tensor(wanted, device=codebook.device)
    part = search_part(prepare(extractor), codebook, images.keys, grids, goals, region, images.scales)
    found = [tokens for _, tokens in token_selection(part, optimisation or SearchOptimisation(), seed)][-1]
    edited = images.tokens.copy()
    edited[:, part.positions] = (found + part.first).cpu().numpy()
    return replace(images, tokens=edited, scores={})
