"""Two groups of a run's images, and neutral ones: by class, or by a property of the pictures (METHOD.md, section 7)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.packed import read_packed, rows_of, write_packed

SPLITS = ("train", "validation", "test")
FIRST, SECOND, NEUTRAL = GROUPS = ("first", "second", "neutral")
SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("row", pa.int64()),
        ("label", pa.int32()),
        ("group", pa.string()),
        ("value", pa.float64()),
    ]
)
AT_ONCE = 1 << 16  # records copied at once

Rows = NDArray[np.int64]


def group_classes(
    output: Path,
    train_groups: Path,
    validation_groups: Path,
    *,
    train: Path,
    validation: Path,
    test: Path,
    labels: tuple[int, int],
    neutral: int | None = None,
) -> None:
    """Group a run's images by class: one class against another, and a class of neutral images.

    Args:
        output: Parquet to write: split, row (in the split's packed grids), label, group (first, second, neutral),
            value (null).
        train_groups: packed grids to write: those of the groups in the train split; labels 0 (first) and 1 (second).
        validation_groups: the same of the validation split.
        train: packed grids of the train split.
        validation: packed grids of the validation split.
        test: packed grids of the test split.
        labels: classes of the first and the second group.
        neutral: class of the neutral images.
    """
    classes = dict(zip(GROUPS, labels, strict=False)) | ({} if neutral is None else {NEUTRAL: neutral})
    if len(set(classes.values())) < len(classes):
        raise InputError(f"classes {classes}: the groups need different classes")
    paths = dict(zip(SPLITS, (train, validation, test), strict=True))
    groups = {}
    for split, path in paths.items():
        packed = read_packed(path)
        groups[split] = {group: rows_of(packed, label, path) for group, label in classes.items()}
    _write(output, (train_groups, validation_groups), paths, groups, {})


def group_by_property(
    output: Path,
    train_groups: Path,
    validation_groups: Path,
    *,
    train: Path,
    validation: Path,
    test: Path,
    train_values: list[Path],
    validation_values: list[Path],
    test_values: list[Path],
) -> None:
    """Group a run's images by a property of the pictures, so that groups and classes are independent.

    In every split, the first group is the third of each class that has most of the property. The second group is the
    third that has least. The rest is neutral. Both groups have the same number of images of each class.

    Args:
        output: Parquet to write: split, row (in the split's packed grids), label, group (first, second, neutral),
            value (of the property).
        train_groups: packed grids to write: those of the groups in the train split; labels 0 (first) and 1 (second).
        validation_groups: the same of the validation split.
        train: packed grids of the train split.
        validation: packed grids of the validation split.
        test: packed grids of the test split.
        train_values: measured properties (measure-property) of the train split's shards, in their order.
        validation_values: the same of the validation split.
        test_values: the same of the test split.
    """
    paths = dict(zip(SPLITS, (train, validation, test), strict=True))
    measured = dict(zip(SPLITS, (train_values, validation_values, test_values), strict=True))
    groups, values = {}, {}
    for split, path in paths.items():
        labels = np.array(read_packed(path)["label"], np.int64)
        values[split] = _read_values(measured[split], labels, path)
        groups[split] = thirds(values[split], labels, f"{measured[split][0].parent}")
    _write(output, (train_groups, validation_groups), paths, groups, values)


def thirds(values: NDArray[np.float64], labels: NDArray[np.int64], where: str) -> dict[str, Rows]:
    """Rows of each group, ascending: of every class, the upper third by value, the lower third, and the rest.

    Args:
        values: of the property, ``[N]``.
        labels: classes, ``[N]``.
        where: the files' folder, for error messages.

    Raises:
        InputError: a class has fewer than three images, or no threshold separates its thirds.
    """
    parts: dict[str, list[Rows]] = {group: [] for group in GROUPS}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(values[rows], kind="stable")]
        third = len(rows) // 3
        if third == 0:
            raise InputError(f"{where}: {len(rows)} images of class {label}; thirds need at least 3")
        if values[rows[third - 1]] >= values[rows[-third]]:
            raise InputError(f"{where}: class {label}: no threshold separates its thirds: too many equal values")
        parts[FIRST].append(rows[-third:])
        parts[SECOND].append(rows[:third])
        parts[NEUTRAL].append(rows[third:-third])
    return {group: np.sort(np.concatenate(of_class)) for group, of_class in parts.items()}


def read_groups(path: Path) -> dict[tuple[str, str], pa.Table]:
    """Rows of a file of groups by split and group: row, label and value.

    Raises:
        InputError: the file is damaged, or a group has no images in a split.
    """
    table = read_table(path, SCHEMA.names)
    found = {
        (split, group): table.filter(pc.and_(pc.equal(table["split"], split), pc.equal(table["group"], group)))
        for split in SPLITS
        for group in GROUPS
    }
    for (split, group), rows in found.items():
        if not len(rows) and group != NEUTRAL:
            raise InputError(f"{path}: no {split} images of the {group} group")
    return found


def _read_values(paths: Sequence[Path], labels: NDArray[np.int64], grids: Path) -> NDArray[np.float64]:
    """Values ``[N]`` of the images of packed grids, whose labels are compared."""
    tables = [read_table(path, ["label", "value"]) for path in paths]
    table = pa.concat_tables(tables)
    if not np.array_equal(table["label"].to_numpy(), labels):
        raise InputError(f"{paths[0].parent}: not of the same images, in the same order, as {grids}")
    values: NDArray[np.float64] = table["value"].to_numpy()
    return values


def _write(
    output: Path,
    packed: tuple[Path, Path],
    paths: dict[str, Path],
    groups: dict[str, dict[str, Rows]],
    values: dict[str, NDArray[np.float64]],
) -> None:
    """Write the table of the groups, and the grids of the first and the second as an extractor is trained on."""
    tables = []
    for split, path in paths.items():
        labels = read_packed(path)["label"]
        for group, rows in groups[split].items():
            columns = {
                "split": np.full(len(rows), split),
                "row": rows,
                "label": labels[rows].astype(np.int32),
                "group": np.full(len(rows), group),
                "value": values[split][rows] if split in values else pa.nulls(len(rows), pa.float64()),
            }
            tables.append(pa.table(columns).cast(SCHEMA))
    for split, of_groups in zip(SPLITS, packed, strict=False):
        _pack_groups(of_groups, paths[split], groups[split])
    write_table(output, pa.concat_tables(tables))


def _pack_groups(output: Path, grids: Path, groups: dict[str, Rows]) -> None:
    """Write the grids of the first and the second group, in the order of the packed grids, with labels 0 and 1."""
    packed = read_packed(grids)
    rows = np.concatenate([groups[FIRST], groups[SECOND]])
    labels = np.repeat([0, 1], [len(groups[FIRST]), len(groups[SECOND])])
    order = np.argsort(rows)

    def parts() -> Iterator[NDArray[np.void]]:
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE]
            records = np.array(packed[rows[part]])
            records["label"] = labels[part]
            yield records

    write_packed(output, parts(), len(rows))
