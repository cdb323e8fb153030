"""Sets of images that may lean to one of two groups, with the counts of the groups' tokens in every image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.data.packed import read_packed
from cortex.studies.bias.groups import FIRST, NEUTRAL, SECOND, SPLITS
from cortex.studies.bias.resample import Counts
from cortex.studies.bias.settings import NeutralSets

HELD_OUT = "validation"  # where the groups' own images are from: the extractor did not learn from them
MIXED = "test"  # where mixtures are from
COUNTED = [(split, group) for split in (HELD_OUT, MIXED) for group in (FIRST, SECOND)]
COUNTED += [(split, NEUTRAL) for split in SPLITS]
AT_ONCE = 1 << 16  # grids in memory


@dataclass(frozen=True)
class Counted:
    """Images, and how many of their positions hold each group's tokens; all ``[N]``.

    Args:
        rows: places in the packed grids.
        labels: classes.
        values: of the property that makes the groups; null, if classes do.
        first, second: positions that hold the first, the second group's tokens.
    """

    rows: Counts
    labels: Counts
    values: NDArray[np.float64]
    first: Counts
    second: Counts

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def difference(self) -> float:
        """Mean over images: the first group's positions less the second's."""
        return float((self.first - self.second).mean())

    def take(self, places: Counts) -> "Counted":
        """The images at some places."""
        return Counted(*(getattr(self, field.name)[places] for field in fields(self)))

    def of_class(self, label: int) -> "Counted":
        """The images of a class."""
        return self.take(np.flatnonzero(self.labels == label))


@dataclass(frozen=True)
class ImageSet:
    """A set of images that may lean to one of two groups.

    Args:
        kind: held-out, mixture or neutral.
        label: class of its images; None: all classes of the groups.
        true_share: share of the first group; None: not known.
        images: the images.
    """

    kind: str
    label: int | None
    true_share: float | None
    images: Counted


def count_tokens(path: Path, members: pa.Table, tokens: tuple[NDArray[np.int32], NDArray[np.int32]]) -> Counted:
    """Count each group's tokens in some images of packed grids.

    Args:
        path: the packed grids.
        members: row, label and value of the images.
        tokens: of the first and of the second group.
    """
    grids = read_packed(path)["grid"]
    rows = members["row"].to_numpy()
    belongs = np.zeros((2, 1 << 16), bool)  # by token
    for number, of_group in enumerate(tokens):
        belongs[number, of_group] = True
    counts = np.zeros((2, len(rows)), np.int64)
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        counts[:, part] = belongs[:, grids[rows[part]]].sum((2, 3))
    values = members["value"].to_numpy(zero_copy_only=False).astype(np.float64)  # null becomes NaN
    return Counted(rows, members["label"].to_numpy().astype(np.int64), values, *counts)


def image_sets(counted: Mapping[tuple[str, str], Counted], settings: NeutralSets) -> Iterator[ImageSet]:
    """The sets of two groups: their held-out images, mixtures of known shares, and neutral images.

    Groups by property have all classes. Then each class has its own sets: its test images of each group, and its
    neutral images.

    Args:
        counted: images by split and group.
        settings: the kind of groups, and the mixtures.
    """
    first, second = counted[MIXED, FIRST], counted[MIXED, SECOND]
    yield ImageSet("held-out", None, 1.0, counted[HELD_OUT, FIRST])
    yield from mixtures(first, second, sorted(settings.mixtures, reverse=True))
    yield ImageSet("held-out", None, 0.0, counted[HELD_OUT, SECOND])
    neutral = joined([counted[split, NEUTRAL] for split in SPLITS])
    if settings.property is None:
        if settings.neutral is not None:
            yield ImageSet("neutral", settings.neutral, None, neutral)
        return
    yield ImageSet("neutral", None, None, neutral)
    for label in np.unique(neutral.labels).tolist():
        yield ImageSet("mixture", label, 1.0, first.of_class(label))
        yield ImageSet("mixture", label, 0.0, second.of_class(label))
        yield ImageSet("neutral", label, None, neutral.of_class(label))


def mixtures(first: Counted, second: Counted, shares: Sequence[float]) -> Iterator[ImageSet]:
    """Mixtures of two groups' images, each of its true share.

    All have as many images as the smaller group, or one less: an even number, so that half of them is one. Images of
    the classes alternate, so that every mixture has all classes of its groups.
    """
    images = min(len(first), len(second)) // 2 * 2
    order = alternating(first.labels), alternating(second.labels)
    for share in shares:
        of_first = round(share * images)
        parts = [first.take(order[0][:of_first]), second.take(order[1][: images - of_first])]
        yield ImageSet("mixture", None, of_first / images, joined(parts))


def alternating(labels: Counts) -> Counts:
    """The order in which the first images of all classes come first, then the second ones, and so on."""
    number = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        number[rows] = np.arange(len(rows))
    return np.lexsort((labels, number))


def joined(parts: Sequence[Counted]) -> Counted:
    """All images of several sets."""
    return Counted(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Counted)))
