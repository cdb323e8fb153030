"""Ablation of tokens: images without the contributions of some tokens, as judges read them (METHOD.md, section 11)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.files import named_path
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import write_table
from cortex.data.tokens import Tokens, read_tokens
from cortex.explain import IMPORTANCE
from cortex.explain.ranks import ranks
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import load_generator
from cortex.judges.judge import Judge, load_judge

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("measure", pa.string()),
        ("judge", pa.string()),
        ("removed", pa.string()),
        ("scale", pa.int32()),
        ("side", pa.int32()),
        ("n", pa.int32()),
        ("value", pa.float64()),
    ]
)
CHANGE = "probability_change"


@dataclass(frozen=True)
class Removal:
    """Tokens that are removed together.

    Args:
        of: values of the columns removed, scale, side and n.
        mask: the tokens, bool ``[N, P]``.
    """

    of: dict[str, Any]
    mask: NDArray[np.bool_]


def ablate_scales(
    output: Path,
    scores: list[Path],
    *,
    judges: list[str],
    images_per_class: int,
    n: list[int],
    batch: int,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure how judges' probability of the label changes when contributions of tokens are removed, and decoded.

    A removed token contributes what the mean of the codebook's vectors would.

    Args:
        output: Parquet to write, a row an image and measure: key, label, measure, judge, removed, scale (from 0), side
            (rows and columns of the scale), n, value. Measure `probability_change`: of the label, by a judge, without
            the tokens that `removed` names. These are all of a scale (`scale`), all of finer scales (`finer`), the n of
            highest importance (`importance`), or n random ones of the same scales (`random`). The difference of the
            last two is `beyond_random`. Measure `share`: of the n tokens of highest importance, those of a scale.
        scores: importance files of the test split.
        judges: weights of judges, as name=path.
        images_per_class: images of every class, the first of the test split.
        n: tokens of highest importance; a result for each.
        batch: images that are decoded and judged at once.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
        seed: seed of the random tokens. The tokens of an image are a function of the seed and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    model: Any = load_generator(generator, on, family=family, decode_only=True)
    images = read_tokens(scores, [IMPORTANCE], codes=model.spec.codes)
    if not model.spec.scales or images.scales != model.spec.scales:
        raise InputError(f"{images.path}: scales {list(images.scales)}; those of the generator: {model.spec.scales}")
    images = images.take(images.first(images_per_class))
    random = uniforms(key_seeds(seed, "random positions", images.keys), images.tokens.shape[1])
    tables = [_table(images, "share", None, of, values) for of, values in shares(images, n)]
    panel = {name: load_judge(path, on) for name, path in map(named_path, judges)}
    removals = list(removals_of(images, n, random))
    whole = Removal({}, np.zeros(images.tokens.shape, bool))
    before = probabilities(model, panel, images, whole, batch)
    changes: dict[tuple[str, str, int | None], NDArray[np.float64]] = {}
    for removal in progress(removals, len(removals), "ablation", "set"):
        after, kind, count = probabilities(model, panel, images, removal, batch), removal.of["removed"], removal.of["n"]
        for judge in panel:
            changes[judge, kind, count] = after[judge] - before[judge]
            tables.append(_table(images, CHANGE, judge, removal.of, changes[judge, kind, count]))
            if kind == "random":
                beyond = changes[judge, "importance", count] - changes[judge, "random", count]
                tables.append(_table(images, CHANGE, judge, removal.of | {"removed": "beyond_random"}, beyond))
    write_table(output, pa.concat_tables(tables))


def removals_of(images: Tokens, n: list[int], random: NDArray[np.floating]) -> Iterator[Removal]:
    """All sets of tokens that are removed.

    Args:
        images: with ``scores["importance"]``.
        n: tokens of highest importance.
        random: numbers ``[N, P]``; an image's random tokens of a scale are those of its highest numbers.
    """
    scale_of, sides = images.layout.scale_of, images.scales
    for scale, side in enumerate(sides):
        of_scale = {"scale": scale, "side": side, "n": None}
        yield Removal({"removed": "scale"} | of_scale, np.tile(scale_of == scale, (len(images), 1)))
        if scale < len(sides) - 1:
            yield Removal({"removed": "finer"} | of_scale, np.tile(scale_of > scale, (len(images), 1)))
    order = ranks(images.scores[IMPORTANCE])
    for count in n:
        important, at_random = order < count, np.zeros(images.tokens.shape, bool)
        for scale in range(len(sides)):
            of_scale = scale_of == scale
            at_random[:, of_scale] = ranks(random[:, of_scale]) < important[:, of_scale].sum(1, keepdims=True)
        of_tokens = {"scale": None, "side": None, "n": count}
        yield Removal({"removed": "importance"} | of_tokens, important)
        yield Removal({"removed": "random"} | of_tokens, at_random)


def shares(images: Tokens, n: list[int]) -> Iterator[tuple[dict[str, Any], NDArray[np.float64]]]:
    """Share of every scale ``[N]`` among the tokens of highest importance, with the columns that tell it apart."""
    order, scale_of = ranks(images.scores[IMPORTANCE]), images.layout.scale_of
    for count in n:
        for scale, side in enumerate(images.scales):
            of = {"removed": None, "scale": scale, "side": side, "n": count}
            yield of, ((order < count) & (scale_of == scale)).sum(1) / count


@torch.inference_mode()
def probabilities(
    model: Any, panel: dict[str, Judge], images: Tokens, removal: Removal, batch: int
) -> dict[str, NDArray[np.float64]]:
    """By judge, the probability ``[N]`` of the label in images without some tokens."""
    found: dict[str, list[Tensor]] = {name: [] for name in panel}
    nothing = model.codebook.mean(0)
    for rows in torch.arange(len(images)).split(batch):
        tokens, mask = (torch.from_numpy(each[rows.numpy()]) for each in (images.tokens.astype(np.int64), removal.mask))
        vectors = torch.where(mask.to(model.device)[..., None], nothing, model.codebook[tokens.to(model.device)])
        pictures, labels = model.decode_vectors(vectors), torch.from_numpy(images.labels[rows.numpy()])
        for name, judge in panel.items():
            found[name].append(judge.logits(pictures).softmax(1).cpu().gather(1, labels[:, None])[:, 0])
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def _table(
    images: Tokens, measure: str, judge: str | None, of: dict[str, Any], values: NDArray[np.floating]
) -> pa.Table:
    """Rows of one measure, an image each."""
    columns = {"measure": measure, "judge": judge, **of}
    rows = {name: [value] * len(images) for name, value in columns.items()}
    found = {"key": images.keys, "label": images.labels, **rows, "value": values}
    return pa.table({name: found[name] for name in SCHEMA.names}, SCHEMA)
