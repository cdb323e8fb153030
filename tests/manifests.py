"""Manifests of runs that tests wrote, and files beside a run's that are not its own."""

import shutil
from pathlib import Path

import pyarrow as pa

from cortex.core.tables import write_table
from cortex.data.manifest import SCHEMA, manifest_of


def list_shards(run: Path, names: list[str]) -> None:
    """Write a manifest that lists some shards, such as test/000000."""
    rows = [
        {"split": name.partition("/")[0], "shard": int(name.partition("/")[2]), "path": f"{name}.tar"}
        | {"samples": 1, "bytes": 0, "sha256": ""}
        for name in names
    ]
    write_table(manifest_of(run), pa.Table.from_pylist(rows, SCHEMA))


def leave_strays(run: Path) -> None:
    """Leave beside a run's files those that an earlier, larger run had: another shard, training and judge."""
    for first in [*run.rglob("000000.*")]:
        shutil.copy(first, first.with_stem("000007"))
    for model in [*run.glob("extractors/*/0")]:
        shutil.copytree(model, model.with_name("7"))
    for model in [*run.glob("judges/*")][:1]:
        shutil.copytree(model, model.with_name("old"))
