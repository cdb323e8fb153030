"""How good a generator is, in the eyes of judges that know the real pictures."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image

from cortex.core.device import choose_device
from cortex.core.errors import InputError, quoted
from cortex.core.files import whole_file
from cortex.core.randomness import sample_seeds
from cortex.core.tables import write_table
from cortex.data.draw import canonical_batches
from cortex.data.picture_sources import find_pictures
from cortex.data.pictures import Pictures, read_pictures
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator
from cortex.generators.load import load_generator
from cortex.generators.sampling import Sampling
from cortex.judges.judge import Judge, load_judge

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("judge", pa.string()),
        ("pictures", pa.string()),
        ("guidance", pa.float64()),
        ("label", pa.int32()),
        ("samples", pa.int32()),
        ("recognised", pa.float64()),
        ("distance", pa.float64()),
        ("l1", pa.float64()),
    ]
)
STREAM = 3  # of the random numbers: no split's
BATCH = 250


def measure_quality(
    output: Path,
    *,
    images: str,
    judges: list[Path],
    strengths: list[float],
    class_names: Path | None = None,
    per_class: int = 100,
    seed: int = 0,
    generator: Path | None = None,
    family: str = DEFAULT_FAMILY,
    sheet: Path | None = None,
    device: str = "auto",
) -> None:
    """Measure how judges read a generator's pictures, and how far these are from real ones.

    The distance is that of two normal distributions (Fréchet), fitted to a judge's features: inputs of its last linear
    layer. It is built as FID is, but not comparable with an FID, whose features are those of Inception-v3. Half of
    the real pictures stands for the real ones; the other half shows how large the distance of real pictures is.

    Args:
        output: Parquet to write: judge (name of the file's folder, or of the file), pictures (real, reconstructed,
            drawn), guidance (null: not drawn), label (null: all classes), samples, recognised (share that the judge
            reads as its class), distance (null by class), l1 (reconstructed: mean absolute error in units of -1..1).
        images: labelled pictures that neither the generator nor the judges were trained on, in any form that
            train-generator reads.
        judges: weights of judges.
        strengths: values of the guidance to draw with; the other options of the sampling are the generator's published
            ones.
        class_names: text file of class names, one a line, for pictures whose classes are numbers.
        per_class: drawn pictures of a class.
        seed: seed of the drawn pictures.
        generator: weights file of the generator; the family's own if not given.
        family: generator family: a registered name, or module:Attribute.
        sheet: PNG to write: a row a class of real pictures, the same ones reconstructed, and drawn ones, these for
            every value of the guidance.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: the pictures have other classes than the generator.
    """
    on = choose_device(device)
    model = load_generator(generator, on, family=family)
    with tempfile.TemporaryDirectory() as store:
        real = read_pictures(find_pictures(images, class_names), model.spec.image[0], Path(store))
        labels = labels_of(real, model.spec.class_names)
        sets: list[tuple[str, float | None, NDArray[Any], NDArray[np.int64]]] = [("real", None, real.images, labels)]
        rebuilt = np.concatenate([reconstruct(model, part) for part in _parts(real.images)])
        sets.append(("reconstructed", None, rebuilt, labels))
        for strength in strengths:
            log.info("drawing %d pictures a class with guidance %g", per_class, strength)
            drawn, asked = draw_pictures(
                model, per_class, seed, model.spec.published.model_copy(update={"guidance": strength})
            )
            sets.append(("drawn", strength, drawn, asked))
        if sheet is not None:
            with whole_file(sheet) as part:
                Image.fromarray(contact_sheet([(pictures, of) for _, _, pictures, of in sets])).save(part, "png")
        error = float(np.abs(rebuilt.astype(np.float32) - real.images).mean() / 127.5)
        rows = []
        for path in judges:
            judge = load_judge(path, on)
            name = path.parent.name if path.stem == "model" else path.stem
            rows += [{"judge": name, **row} for row in _judged(judge, sets)]
    for row in rows:
        row["l1"] = error if row["pictures"] == "reconstructed" and row["label"] is None else None
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def labels_of(pictures: Pictures, names: tuple[str, ...]) -> NDArray[np.int64]:
    """The generator's class indices int64 ``[N]`` of pictures, matched by the classes' names.

    Raises:
        InputError: a class of the pictures is none of the generator's.
    """
    unknown = sorted(set(pictures.class_names) - set(names))
    if unknown:
        raise InputError(f"classes {quoted(unknown)} of the pictures: none of the generator's {quoted(names)}")
    return np.array([names.index(name) for name in pictures.class_names])[pictures.labels]


def draw_pictures(
    model: Generator, per_class: int, seed: int, sampling: Sampling
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Drawn pictures uint8 ``[N, H, W, 3]`` and their classes int64 ``[N]``."""
    classes = len(model.spec.class_names)
    labels, indices = np.repeat(np.arange(classes), per_class), np.tile(np.arange(per_class), classes)
    pictures = np.empty((len(labels), *model.spec.image, 3), np.uint8)
    for batch_labels, batch_indices, rows, columns in canonical_batches(labels, indices, (10, 10), classes):
        grids = model.sample(batch_labels, sample_seeds(seed, STREAM, batch_labels, batch_indices), sampling)
        pictures[rows] = model.decode(grids).cpu().numpy()[columns]
    return pictures, labels


def reconstruct(model: Generator, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures uint8 ``[B, H, W, 3]`` encoded to tokens and decoded again."""
    decoded: NDArray[np.uint8] = (
        model.decode(model.encode(torch.from_numpy(np.ascontiguousarray(images)))).cpu().numpy()
    )
    return decoded


def contact_sheet(sets: list[tuple[NDArray[np.uint8], NDArray[np.int64]]], columns: int = 4) -> NDArray[np.uint8]:
    """One picture of the first pictures of every class: a row a class, the sets side by side, on white.

    Args:
        sets: pictures uint8 ``[N, H, W, 3]`` and their classes int64 ``[N]``.
        columns: pictures of a class and set.
    """
    classes = np.unique(np.concatenate([labels for _, labels in sets]))
    height, width = sets[0][0].shape[1:3]
    gap = width // 4
    across = columns * width + gap
    sheet = np.full((len(classes) * height, len(sets) * across - gap, 3), 255, np.uint8)
    for place, (pictures, labels) in enumerate(sets):
        for row, label in enumerate(classes):
            shown = pictures[labels == label][:columns]
            left = place * across
            line = shown.transpose(1, 0, 2, 3).reshape(height, -1, 3)
            sheet[row * height : (row + 1) * height, left : left + line.shape[1]] = line
    return sheet


def frechet_distance(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Fréchet distance of the normal distributions fitted to two sets of features ``[N, F]`` and ``[M, F]``.

    ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) (Heusel et al., NeurIPS 2017, equation 6).
    """
    first, second = np.cov(ours, rowvar=False), np.cov(theirs, rowvar=False)
    # The trace of the root of a product of two covariances is the sum of the roots of its eigenvalues.
    roots = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0)).sum()
    mean = np.square(ours.mean(0) - theirs.mean(0)).sum()
    return float(mean + np.trace(first) + np.trace(second) - 2 * roots)


def _judged(
    judge: Judge, sets: list[tuple[str, float | None, NDArray[Any], NDArray[np.int64]]]
) -> Iterator[dict[str, Any]]:
    """The rows of a judge, without its name."""
    reference: NDArray[np.float64] | None = None
    for pictures, guidance, images, labels in sets:
        found = [judge.features(torch.from_numpy(np.ascontiguousarray(part))) for part in _parts(images)]
        right = np.concatenate([logits.argmax(1).cpu().numpy() for logits, _ in found]) == labels
        features = np.concatenate([features.cpu().numpy() for _, features in found]).astype(np.float64)
        if reference is None:
            reference, features = features[::2], features[1::2]
        of = {"pictures": pictures, "guidance": guidance}
        distance = frechet_distance(reference, features)
        yield {**of, "label": None, "samples": len(labels), "recognised": right.mean(), "distance": distance}
        for label in np.unique(labels).tolist():
            part = right[labels == label]
            yield {**of, "label": label, "samples": len(part), "recognised": part.mean(), "distance": None}


def _parts(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]
