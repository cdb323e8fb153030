"""The lean of neutral images to one of two groups, by the groups' tokens (METHOD.md, section 7)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.packed import read_packed, rows_of
from cortex.explain.concept_tokens import LISTS
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import generator_spec
from cortex.studies.bias.settings import NeutralSets

Counts = NDArray[np.int64]

COUNTS = pa.schema(
    [
        ("first", pa.int32()),
        ("second", pa.int32()),
        ("list", pa.string()),
        ("split", pa.string()),
        ("row", pa.int32()),
        ("label", pa.int32()),
        ("first_count", pa.int32()),
        ("second_count", pa.int32()),
    ]
)
SCHEMA = pa.schema(
    [
        ("first_name", pa.string()),
        ("second_name", pa.string()),
        ("list", pa.string()),
        ("neutral", pa.string()),
        ("first", pa.int32()),
        ("second", pa.int32()),
        ("true_share", pa.float64()),
        ("images", pa.int32()),
        ("common_tokens", pa.int32()),
        ("first_mean", pa.float64()),
        ("second_mean", pa.float64()),
        ("delta", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p", pa.float64()),
        ("share", pa.float64()),
        ("share_low", pa.float64()),
        ("share_high", pa.float64()),
    ]
)
SPLITS = ("train", "validation", "test")
HELD_OUT = "validation"  # where the groups' own images are from: the extractor did not learn from them
MIXED = "test"  # where mixtures are from
AT_ONCE = 20_000_000  # resampled values held at once
ALIKE = 1e-9  # in place of no difference between the groups in a resample, where a share is undefined


def measure_bias(
    output: Path,
    counts: Path,
    tokens: list[Path],
    train: Path,
    validation: Path,
    test: Path,
    *,
    settings: NeutralSets,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Measure the lean of neutral images to one of two groups, by the number of positions that hold a group's tokens.

    The published figure is Cliff's delta between the counts of the first group's tokens and those of the second's,
    -1 to 1, above 0 where the first's are more. It differs from 0 for even images, too, where tokens of one group are
    more frequent in all images. The second figure is the share: where the images are between the groups' own held-out
    ones, by the mean difference of the counts. It is 0 where that is as in the second group, 1 as in the first, and in
    a mixture, on average, the first group's share. Intervals are of 95 % (bootstrap over images, percentiles).

    Neutral sets: mixtures of a known share of the first group, of the groups' test images, which no stage learned
    from; the groups' own validation images, as the ends of the scale; and all images of a class, if one is given.
    Mixtures have as many images as the smaller group, or one less, to be even.

    Args:
        output: Parquet to write: first_name, second_name, neutral (held-out first, mixture, held-out second, or the
            class's name), first, second, true_share (of the first group; null where it is not known), images,
            common_tokens (of both groups), first_mean and second_mean (positions of an image that hold the group's
            tokens), delta, low, high, p (Mann-Whitney), share, share_low, share_high (null where the interval of
            the held-out images' difference has 0 in it: the tokens do not tell the groups apart).
        counts: Parquet to write: first, second, split, row (in the split's packed grids), label, first_count,
            second_count (positions that hold the group's tokens).
        tokens: the tokens of every pair of groups (bias-tokens), in the order of the pairs.
        train: packed grids of the train split; only those of the neutral class are read.
        validation: packed grids of the validation split.
        test: packed grids of the test split.
        settings: the pairs, the mixtures, and the class of neutral images, of all splits.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, which names the classes; the family's own if not given.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if len(tokens) != len(settings.pairs):
        raise InputError(f"{len(tokens)} files, {len(settings.pairs)} pairs: a file for each pair is needed")
    paths = dict(zip(SPLITS, (train, validation, test), strict=True))
    names, neutral = generator_spec(generator, family).class_names, settings.neutral
    rows: list[dict[str, Any]] = []
    counted: list[pa.Table] = []
    for (path, (one, other)), kind in product(zip(tokens, settings.pairs.items(), strict=True), LISTS):
        groups = read_group_tokens(path, kind, one), read_group_tokens(path, kind, other)
        parts = [(split, label) for split in (HELD_OUT, MIXED) for label in (one, other)]
        parts += [(split, neutral) for split in SPLITS if neutral is not None]
        found = {(split, label): count_tokens(paths[split], label, groups) for split, label in parts}
        ends = found[HELD_OUT, one], found[HELD_OUT, other]
        sets: list[Neutral] = [("held-out first", 1.0, ends[0]), ("held-out second", 0.0, ends[1])]
        sets[1:1] = mixed(found[MIXED, one], found[MIXED, other], sorted(settings.mixtures, reverse=True))
        if neutral is not None:
            sets.append((_name(names, neutral), None, joined([found[split, neutral] for split in SPLITS])))
        pair: dict[str, Any] = {"first": one, "second": other, "list": kind}
        counted += [_table({**pair, "split": split, "label": label}, part) for (split, label), part in found.items()]
        pair |= {"first_name": _name(names, one), "second_name": _name(names, other)}
        pair |= {"common_tokens": len(np.intersect1d(*groups))}
        rows += [
            {**pair, "neutral": name, "true_share": share, **effect(images, ends, resamples, seed)}
            for name, share, images in sets
        ]
    write_table(counts, pa.concat_tables(counted))
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


@dataclass(frozen=True)
class Counted:
    """Images, and how many of their positions hold each group's tokens; all ``[N]``.

    Args:
        rows: places in the packed grids.
        first, second: positions that hold the first, the second group's tokens.
    """

    rows: Counts
    first: Counts
    second: Counts

    @property
    def difference(self) -> Counts:
        """The first group's less the second's."""
        return self.first - self.second

    def head(self, images: int) -> "Counted":
        """The first so many images."""
        return Counted(self.rows[:images], self.first[:images], self.second[:images])


Neutral = tuple[str, float | None, Counted]  # a neutral set's name, its true share of the first group if known, images


def joined(parts: Sequence[Counted]) -> Counted:
    """All images of several sets."""
    return Counted(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "first", "second")))


def read_group_tokens(path: Path, kind: str, label: int) -> NDArray[np.int32]:
    """A group's tokens in the list of a kind; groups without a difference have none in that of contrast.

    Raises:
        InputError: the file is damaged, or not of this group.
    """
    table = read_table(path, ["label", "list", "token"])
    of_label = table.filter(pc.equal(table["label"], label))
    if not len(of_label):
        raise InputError(f"{path}: no tokens of class {label}")
    tokens: NDArray[np.int32] = of_label.filter(pc.equal(of_label["list"], kind))["token"].to_numpy()
    return tokens


def count_tokens(path: Path, label: int, groups: tuple[NDArray[np.int32], NDArray[np.int32]]) -> Counted:
    """Count each group's tokens in every image of a class of packed grids."""
    packed = read_packed(path)
    rows = rows_of(packed, label, path)
    grids = packed["grid"][rows].reshape(len(rows), -1)
    return Counted(rows, *(np.isin(grids, tokens).sum(1) for tokens in groups))


def mixed(first: Counted, second: Counted, shares: Sequence[float]) -> list[Neutral]:
    """Mixtures of two groups' images, each with its name and true share.

    All are of as many images as the smaller group has, or of one less: an even number, so that half of them is one.
    """
    images = min(len(first.rows), len(second.rows)) // 2 * 2
    sets: list[Neutral] = []
    for share in shares:
        of_first = round(share * images)
        parts = [first.head(of_first), second.head(images - of_first)]
        sets.append(("mixture", of_first / images, joined(parts)))
    return sets


def effect(images: Counted, ends: tuple[Counted, Counted], resamples: int, seed: int) -> dict[str, float | None]:
    """The figures of a neutral set, by their columns' names.

    Args:
        images: the neutral set.
        ends: the first and the second group's own images.
        resamples, seed: seed of the bootstrap.
    """
    if (fewest := min(len(part.rows) for part in (images, *ends))) < 2:
        raise InputError(f"{fewest} image of a group or neutral set: at least 2 are needed")
    scale = ends[0].difference, ends[1].difference
    low, high = interval(cliffs_delta, (images.first, images.second), resamples, seed, paired=True)
    gap_low, gap_high = interval(_gap, scale, resamples, seed)
    share = share_low = share_high = None
    if gap_low > 0 or gap_high < 0:
        share = float(share_between(images.difference, *scale))
        share_low, share_high = interval(share_between, (images.difference, *scale), resamples, seed)
    differ = len(np.unique([images.first, images.second])) > 1
    return {
        "images": len(images.rows),
        "first_mean": float(images.first.mean()),
        "second_mean": float(images.second.mean()),
        "delta": float(cliffs_delta(images.first, images.second)),
        "low": low,
        "high": high,
        "p": float(stats.mannwhitneyu(images.first, images.second).pvalue) if differ else 1.0,
        "share": share,
        "share_low": share_low,
        "share_high": share_high,
    }


def interval(
    statistic: Callable[..., NDArray[np.float64]],
    samples: tuple[Counts, ...],
    resamples: int,
    seed: int,
    *,
    paired: bool = False,
) -> tuple[float, float]:
    """The 95 % interval of a statistic of samples ``[N]`` by bootstrap: percentiles.

    Args:
        statistic: of samples along an axis.
        samples: each drawn from anew by itself; if ``paired``, all at the same places.
        resamples, seed: seed of the bootstrap.
    """
    found = stats.bootstrap(
        samples,
        statistic,
        vectorized=True,
        paired=paired,
        n_resamples=resamples,
        batch=max(1, AT_ONCE // sum(map(len, samples))),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def cliffs_delta(x: Counts, y: Counts, axis: int = -1) -> NDArray[np.float64]:
    """Cliff's delta ``[...]`` of counts ``[..., n]`` and ``[..., m]``: (pairs with x > y less those with x < y) / n·m.

    Equal to 2U/(nm) - 1 of Mann-Whitney. Time is that of n + m, not of the pairs: counts are small whole numbers.
    """
    x, y = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
    largest = int(max(x.max(), y.max())) + 1
    of_x, of_y = _histogram(x, largest), _histogram(y, largest)
    up_to = of_y.cumsum(-1)
    below, above = up_to - of_y, up_to[..., -1:] - up_to
    delta: NDArray[np.float64] = (of_x * (below - above)).sum(-1) / (x.shape[-1] * y.shape[-1])
    return delta


def share_between(differences: Counts, first: Counts, second: Counts, axis: int = -1) -> NDArray[np.float64]:
    """Place of images between two groups by the mean of a number: 0 at the second's mean, 1 at the first's.

    The mean over a mixture of the groups is linear in its shares, so this estimates the first group's.
    """
    gap = _gap(first, second, axis)
    gap = np.where(gap == 0, ALIKE, gap)
    where: NDArray[np.float64] = (differences.mean(axis) - second.mean(axis)) / gap
    return where


def _gap(first: Counts, second: Counts, axis: int = -1) -> NDArray[np.float64]:
    gap: NDArray[np.float64] = first.mean(axis) - second.mean(axis)
    return gap


def _histogram(values: Counts, size: int) -> Counts:
    """How often each of 0 to ``size`` - 1 is among values ``[..., n]``: ``[..., size]``."""
    flat = values.reshape(-1, values.shape[-1])
    places = flat + size * np.arange(len(flat))[:, None]
    return np.bincount(places.ravel(), minlength=size * len(flat)).reshape(*values.shape[:-1], size)


def _table(of: dict[str, Any], images: Counted) -> pa.Table:
    """Rows of the counts' file."""
    columns: dict[str, Any] = {name: [value] * len(images.rows) for name, value in of.items()}
    columns |= {"row": images.rows, "first_count": images.first, "second_count": images.second}
    return pa.table({name: columns[name] for name in COUNTS.names}).cast(COUNTS)


def _name(names: tuple[str, ...], label: int) -> str:
    return names[label] if label < len(names) else f"class {label}"
