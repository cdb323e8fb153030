"""The ground truth, as :func:`cortex.studies.planted.plant.plant` wrote it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.tables import read_table
from cortex.studies.planted.grids import DECOY, MARKS, ROLES, SHORTCUT

PLANTED = "planted"  # all codes that mark the class


@dataclass(frozen=True)
class Truth:
    """The right answers about one variant.

    ``planted`` is all that marks a class; where there are several kinds of it, or a shortcut, or decoys, each is named
    besides.

    Args:
        codes: by name, the codes of every label, ``[classes, m]`` in the labels' order.
        keys: by split, the images.
        positions: by split and name, which positions hold such codes: bool ``[N, P]``, in the keys' order.
    """

    codes: dict[str, NDArray[np.int64]]
    keys: dict[str, list[str]]
    positions: dict[str, dict[str, NDArray[np.bool_]]]


def read_truth(folder: Path) -> Truth:
    """The ground truth of a variant's folder.

    Raises:
        InputError: a file is missing or damaged.
    """
    codes = read_table(folder / "codes.parquet", ["label", "token", "role"]).sort_by("label")
    roles = np.array([ROLES.index(role) for role in codes["role"].to_pylist()])
    classes = len(pc.unique(codes["label"]))
    named = {name: codes["token"].to_numpy()[mask].reshape(classes, -1) for name, mask in names_of(roles).items()}
    keys, positions = {}, {}
    table = read_table(folder / "truth.parquet", ["split", "key", "roles"])
    for split in pc.unique(table["split"]).to_pylist():
        part = table.filter(pc.equal(table["split"], split))
        keys[split] = part["key"].to_pylist()
        positions[split] = names_of(part["roles"].combine_chunks().flatten().to_numpy().reshape(len(part), -1))
    return Truth(named, keys, positions)


def names_of(roles: NDArray[np.integer]) -> dict[str, NDArray[np.bool_]]:
    """Masks of each kind of role by name, of roles as numbers of any shape; a kind equal to ``planted`` is left out."""
    planted = np.isin(roles, MARKS)
    kinds = {ROLES[role]: roles == role for role in (*MARKS, SHORTCUT, DECOY)}
    different = {name: mask for name, mask in kinds.items() if mask.any() and not np.array_equal(mask, planted)}
    return {PLANTED: planted} | different
