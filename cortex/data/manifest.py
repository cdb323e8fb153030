"""The manifest: a data set's shards, with their sample counts, sizes and checksums.

It decides which shards are a run's. Files of other shards, such as those of an earlier, larger run, may lie beside
theirs.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from cortex.core.errors import InputError, shown
from cortex.core.progress import progress
from cortex.core.tables import read_table, write_table
from cortex.data.shard_reader import read_shard

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("path", pa.string()),
        ("samples", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
)
_PATH = re.compile(r"\w+/\d+\.tar", re.ASCII)


def write_manifest(output: Path, shards: list[Path]) -> None:
    """List shards with their sample counts, sizes and SHA-256.

    Args:
        output: Parquet to write: split, shard, path (relative to the manifest's folder), samples, bytes, sha256.
        shards: tars named ``<split>/<shard>.tar`` beside the manifest.
    """
    for shard in shards:
        if not shard.stem.isdecimal():
            raise InputError(f"{shard}: a shard's name is its number, as in train/000000.tar")
    rows = []
    for shard in progress(shards, len(shards), "checksums", "shard"):
        samples = sum(1 for _ in read_shard(shard))
        with open(shard, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        rows.append(
            {
                "split": shard.parent.name,
                "shard": int(shard.stem),
                "path": f"{shard.parent.name}/{shard.name}",
                "samples": samples,
                "bytes": shard.stat().st_size,
                "sha256": digest,
            }
        )
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def manifest_of(run: Path) -> Path:
    """The manifest of a run's folder."""
    return run / "data" / "manifest.parquet"


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """The rows of a manifest.

    Raises:
        InputError: it is missing, damaged or no manifest.
    """
    table = read_table(path, SCHEMA.names).select(SCHEMA.names)
    if table.schema.types != SCHEMA.types or any(column.null_count for column in table.columns):
        raise InputError(f"{path}: not a manifest: its columns should be {', '.join(map(str, SCHEMA))}, without nulls")
    rows = table.to_pylist()
    for row in rows:
        if not _PATH.fullmatch(row["path"]) or not row["path"].startswith(f"{row['split']}/"):
            raise InputError(
                f"{path}: shard {shown(row['path'])} of the split {shown(row['split'])}: no path of a shard"
            )
    return rows


def shards_of(run: Path, split: str) -> list[str]:
    """Names of a split's shards, such as 000000, in order.

    Args:
        run: folder of the run.
        split: train, validation or test.

    Raises:
        InputError: the manifest is missing or damaged, or lists no shard of the split.
    """
    names = [Path(row["path"]).stem for row in read_manifest(manifest_of(run)) if row["split"] == split]
    if not names:
        raise InputError(f"{manifest_of(run)}: no shard of the split {shown(split)}")
    return sorted(names)
