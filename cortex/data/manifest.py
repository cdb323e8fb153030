"""The manifest: a data set's shards, with their sample counts, sizes and checksums."""

import hashlib
from pathlib import Path

import pyarrow as pa

from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
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
