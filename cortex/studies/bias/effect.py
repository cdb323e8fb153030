"""The lean of neutral images to one of two groups, by the groups' tokens (METHOD.md, section 7)."""

from collections.abc import Iterator
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
from cortex.explain.concept_tokens import LISTS
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import generator_spec
from cortex.studies.bias.groups import FIRST, SECOND, SPLITS, read_groups
from cortex.studies.bias.resample import Resampled, cliffs_delta, interval, place_between, resample
from cortex.studies.bias.sets import COUNTED, HELD_OUT, Counted, count_tokens, image_sets
from cortex.studies.bias.settings import NeutralSets

COUNTS = pa.schema(
    [
        ("groups", pa.string()),
        ("list", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),
        ("row", pa.int64()),
        ("label", pa.int32()),
        ("first_count", pa.int32()),
        ("second_count", pa.int32()),
    ]
)
SCHEMA = pa.schema(
    [
        ("groups", pa.string()),
        ("first_name", pa.string()),
        ("second_name", pa.string()),
        ("accuracy", pa.float64()),
        ("accuracy_low", pa.float64()),
        ("accuracy_high", pa.float64()),
        ("list", pa.string()),
        ("set", pa.string()),
        ("label", pa.int32()),
        ("class_name", pa.string()),
        ("true_share", pa.float64()),
        ("property_share", pa.float64()),
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


def measure_bias(
    output: Path,
    counts: Path,
    tokens: list[Path],
    groups: list[Path],
    histories: list[Path],
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

    The published figure is Cliff's delta between the counts of the first group's tokens and the counts of the
    second group's. It is in -1..1, above 0 where the first group's tokens are more. Where the tokens of one group are
    more frequent in all images, it differs from 0 for even images, too. The second figure is the share: where the
    images are between the groups' own held-out ones, by the mean difference of the counts. It is 0 where that
    difference is that of the second group, 1 where it is that of the first. In a mixture it is, on average, the first
    group's share. Intervals are of 95 % (bootstrap over images, percentiles). Groups
    by property have the same number of images of each class; the bootstrap keeps these numbers.

    Sets of images: mixtures of a known share of the first group, of the groups' test images, which no stage learned
    from; the groups' own validation images, as the ends of the scale; and neutral images. Mixtures have as many images
    as the smaller group, or one less, to be even. Groups by property also have sets of each class: its test images of
    each group (mixtures of share 1 and 0), and its neutral images.

    Args:
        output: Parquet to write: groups, first_name, second_name, accuracy (of the extractor on the groups' validation
            images, with accuracy_low and accuracy_high, Wilson's interval; chance is 0.5), list (count, contrast), set
            (held-out, mixture, neutral), label and class_name (null: all classes), true_share (of the first group; null
            where it is not known), property_share (the share by the property itself; null without one), images,
            common_tokens (of both groups), first_mean and second_mean (positions of an image that hold the group's
            tokens), delta, low, high, p (Mann-Whitney), share, share_low, share_high (null where the interval of the
            held-out images' difference has 0 in it: the tokens do not tell the groups apart).
        counts: Parquet to write: groups, list, split, group (first, second, neutral), row (in the split's packed
            grids), label, first_count, second_count (positions that hold the group's tokens).
        tokens: the tokens of every two groups (bias-tokens), pairs in the order of the settings.
        groups: the images of every two groups, in the same order.
        histories: histories of the extractors that were trained on them, in the same order.
        train: packed grids of the train split; only those of neutral images are read.
        validation: packed grids of the validation split.
        test: packed grids of the test split.
        settings: the groups, and the mixtures.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, which names the classes; the family's own if not given.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    named = settings.names()
    if not len(tokens) == len(groups) == len(histories) == len(named):
        found = f"{len(tokens)} files of tokens, {len(groups)} of groups, {len(histories)} of histories"
        raise InputError(f"{found}: one of each is needed for {named}")
    paths = dict(zip(SPLITS, (train, validation, test), strict=True))
    names = generator_spec(generator, family).class_names
    rows: list[dict[str, Any]] = []
    tables: list[pa.Table] = []
    for (place, name), kind in product(enumerate(named), LISTS):
        lists = read_group_tokens(tokens[place], kind, FIRST), read_group_tokens(tokens[place], kind, SECOND)
        members = read_groups(groups[place])
        counted = {key: count_tokens(paths[key[0]], members[key], lists) for key in COUNTED}
        common = {"groups": name, "list": kind, "common_tokens": len(np.intersect1d(*lists))}
        tables += [_counts_table(name, kind, *key, images) for key, images in counted.items()]
        common |= _group_names(name, counted, settings, names)
        common |= _accuracy(histories[place], len(counted[HELD_OUT, FIRST]) + len(counted[HELD_OUT, SECOND]))
        rows += [common | row for row in _effects(counted, settings, names, resamples, seed)]
    write_table(counts, pa.concat_tables(tables))
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def read_group_tokens(path: Path, kind: str, group: str) -> NDArray[np.int32]:
    """A group's tokens in a list, count or contrast; groups without a difference have none in that of contrast.

    Raises:
        InputError: the file is damaged, or has no tokens of the group.
    """
    table = read_table(path, ["group", "list", "token"])
    of_group = table.filter(pc.equal(table["group"], group))
    if not len(of_group):
        raise InputError(f"{path}: no tokens of the {group} group")
    tokens: NDArray[np.int32] = of_group.filter(pc.equal(of_group["list"], kind))["token"].to_numpy()
    return tokens


def _effects(
    counted: dict[tuple[str, str], Counted],
    settings: NeutralSets,
    names: tuple[str, ...],
    resamples: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """The figures of every set of images of two groups."""
    ends = counted[HELD_OUT, FIRST], counted[HELD_OUT, SECOND]
    by_class = settings.property is not None

    def resampled(images: Counted, number: int) -> Resampled:
        # Classes of pairs are the groups themselves: to keep their numbers would give away a mixture's share.
        strata = images.labels if by_class else np.zeros_like(images.labels)
        return resample(images.first, images.second, strata, resamples, np.random.default_rng([seed, number]))

    scale = resampled(ends[0], 0).mean, resampled(ends[1], 1).mean
    for number, part in enumerate(image_sets(counted, settings), start=2):
        if (fewest := min(map(len, (part.images, *ends)))) < 2:
            raise InputError(f"{fewest} image of a group or neutral set: at least 2 are needed")
        yield {
            "set": part.kind,
            "label": part.label,
            "class_name": None if part.label is None else _class_name(names, part.label),
            "true_share": part.true_share,
            "property_share": _property_share(part.images, ends) if by_class else None,
            **effect(part.images, resampled(part.images, number), ends, scale),
        }


def effect(
    images: Counted,
    resampled: Resampled,
    ends: tuple[Counted, Counted],
    scale: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, float | None]:
    """The figures of a set of images, by their columns' names.

    Args:
        images: the set.
        resampled: its figures in resamples.
        ends: the first and the second group's held-out images.
        scale: mean differences of these in resamples.
    """
    low, high = interval(resampled.delta)
    gap_low, gap_high = interval(scale[0] - scale[1])
    share = share_low = share_high = None
    if gap_low > 0 or gap_high < 0:
        share = float(place_between(images.difference, ends[0].difference, ends[1].difference))
        share_low, share_high = interval(place_between(resampled.mean, *scale))
    differ = len(np.unique([images.first, images.second])) > 1
    return {
        "images": len(images),
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


def _accuracy(history: Path, images: int) -> dict[str, float]:
    """The accuracy of the epoch that a training has kept, on so many validation images, with its interval."""
    epochs = read_table(history, ["val_loss", "val_top1"]).to_pylist()
    share = min(epochs, key=lambda epoch: epoch["val_loss"])["val_top1"]
    between = stats.binomtest(round(share * images), images).proportion_ci(method="wilson")
    return {"accuracy": share, "accuracy_low": between.low, "accuracy_high": between.high}


def _property_share(images: Counted, ends: tuple[Counted, Counted]) -> float:
    """Place of images between the groups' held-out images by the mean of the property itself."""
    return float(place_between(*(float(part.values.mean()) for part in (images, *ends))))


def _group_names(
    name: str, counted: dict[tuple[str, str], Counted], settings: NeutralSets, names: tuple[str, ...]
) -> dict[str, str]:
    """Names of the first and of the second group: those of the classes, or high and low of the property."""
    if settings.property is not None:
        return {"first_name": f"high {name}", "second_name": f"low {name}"}
    labels = (int(counted[HELD_OUT, group].labels[0]) for group in (FIRST, SECOND))
    return dict(zip(("first_name", "second_name"), (_class_name(names, label) for label in labels), strict=True))


def _counts_table(name: str, kind: str, split: str, group: str, images: Counted) -> pa.Table:
    """Rows of the counts' file."""
    same = {"groups": name, "list": kind, "split": split, "group": group}
    columns: dict[str, Any] = {key: [value] * len(images) for key, value in same.items()}
    columns |= {"row": images.rows, "label": images.labels, "first_count": images.first, "second_count": images.second}
    return pa.table({key: columns[key] for key in COUNTS.names}).cast(COUNTS)


def _class_name(names: tuple[str, ...], label: int) -> str:
    return names[label] if label < len(names) else f"class {label}"
