"""What is compared, image by image: whether an extractor is right, and what masks of equal area change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cortex.compare.runs import ComparedRun
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.evaluate.comparisons import LEVELS, read_outcomes
from cortex.evaluate.estimates import Values, Vector
from cortex.explain import IMPORTANCE
from cortex.extractors.names import join_name

EQUAL_AREA = "random_area"
AREAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # masked shares of an image
MEASURES = (IMPORTANCE, EQUAL_AREA, "excess")  # changes of the label's probability; excess: the first less the second
AFTER, AREA = LEVELS["image_level"], replace(LEVELS["image_level"], after="masked_fraction")


@dataclass(frozen=True)
class Readings:
    """Values of the trainings of an extractor on the same images.

    Args:
        labels: of the images ``[N]``.
        by_training: values ``[C, N]`` of every training.
    """

    labels: NDArray[np.integer]
    by_training: Mapping[int, Values]

    def stacked(self) -> Values:
        """Values of all trainings ``[T, C, N]``."""
        return np.stack([*self.by_training.values()])


def right_answers(run: ComparedRun, extractor: str, labels: Sequence[int]) -> Readings:
    """Whether an extractor reads the class of a test image, 0 or 1: values ``[1, N]`` of images of some classes."""
    found, classes = {}, None
    for training in run.extractors[extractor]:
        path = run.run.folder / "evaluation" / "extractor_accuracy" / f"{join_name(extractor, training)}.parquet"
        table = read_table(path, ["split", "key", "label", "rank"]).sort_by("key").to_pydict()
        chosen = (np.array(table["split"]) == "test") & np.isin(table["label"], labels)
        found[training] = (np.array(table["rank"])[chosen] == 0)[None].astype(float)
        of_images = np.array(table["key"])[chosen].tolist(), np.array(table["label"])[chosen]
        classes = _same(path, of_images, classes)
    assert classes is not None
    return Readings(classes[1], found)


@dataclass(frozen=True)
class Masks:
    """Masks of rising area at the image level.

    Args:
        labels: of the images ``[N]``.
        changes: by training, changes of the label's probability ``[2, 1 + n, N]`` by importance and by random positions
            of equal area; the first mask hides nothing.
        areas: by training, masked shares of the images ``[1 + n, N]``.
    """

    labels: NDArray[np.integer]
    changes: Mapping[int, Values]
    areas: Mapping[int, Values]

    def of(self, labels: Sequence[int]) -> "Masks":
        """The masks of the images of some classes."""
        chosen = np.isin(self.labels, labels)
        changes = {training: values[:, :, chosen] for training, values in self.changes.items()}
        return Masks(self.labels[chosen], changes, {training: of[:, chosen] for training, of in self.areas.items()})

    def reached(self) -> list[float]:
        """The areas of :data:`AREAS` that the largest masks of every training hide on average."""
        most = min(areas.mean(1)[-1] for areas in self.areas.values())
        return [area for area in AREAS if area <= most]

    def at(self, areas: Sequence[float]) -> Readings:
        """Changes ``[3 · areas, N]`` at mean masked areas: the :data:`MEASURES`, each at all areas.

        Two masks are mixed so that the mean area over images is the one asked for, in every training.
        """
        found = {}
        for training, (important, at_random) in self.changes.items():
            mixed = mixture(self.areas[training].mean(1), areas)
            found[training] = np.concatenate(
                [mixed @ values for values in (important, at_random, important - at_random)]
            )
        return Readings(self.labels, found)

    def excess(self, areas: Sequence[float]) -> Values:
        """Changes by importance less those by random positions, at mean masked areas: ``[T, areas, N]``."""
        return self.at(areas).stacked()[:, 2 * len(areas) :]


def mixture(hidden: Vector, areas: Sequence[float]) -> Values:
    """Weights ``[areas, n]`` of masks of mean areas ``hidden`` ``[n]``, rising from 0: two make each area."""
    weights = np.zeros((len(areas), len(hidden)))
    for row, area in enumerate(areas):
        after = int(np.searchsorted(hidden, area))
        share = (area - hidden[after - 1]) / (hidden[after] - hidden[after - 1])
        weights[row, after - 1], weights[row, after] = 1 - share, share
    return weights


def read_masks(run: ComparedRun, attribution: str, extractor: str, judge: str, labels: Sequence[int]) -> Masks:
    """The masks of an extractor's trainings, as a judge reads them, of images of some classes.

    Raises:
        InputError: files are missing or damaged, or trainings saw other images.
    """
    changes, areas, images = {}, {}, None
    for training in run.extractors[extractor]:
        paths = run.evaluations("image_level", attribution, join_name(extractor, training), judge)
        keys, of_images, after = read_outcomes(AFTER, paths)
        *_, hidden = read_outcomes(AREA, paths)
        chosen = np.isin(of_images, labels)
        images = _same(paths[0], (np.array(keys)[chosen].tolist(), of_images[chosen]), images)
        places = sorted((place for method, place in after if method == IMPORTANCE), key=lambda place: place[0])
        nothing = np.zeros((1, int(chosen.sum())))
        changes[training] = np.stack(
            [
                np.concatenate([nothing, *(after[method, place][None, chosen] for place in places)])
                for method in (IMPORTANCE, EQUAL_AREA)
            ]
        )
        areas[training] = np.concatenate([nothing, *(hidden[IMPORTANCE, place][None, chosen] for place in places)])
    assert images is not None
    return Masks(images[1], changes, areas)


Images = tuple[list[str], NDArray[np.integer]]  # keys and labels


def _same(path: object, found: Images, first: Images | None) -> Images:
    """The images of the first training, which are those of all.

    Raises:
        InputError: they are not; ``path`` is named.
    """
    if first is not None and found[0] != first[0]:
        raise InputError(f"{path}: not the same images as for the extractor's first training")
    return found if first is None else first
