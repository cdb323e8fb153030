"""Check a run's files: nothing truncated, no bit flipped in what has a checksum, no listed shard missing."""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from tyro.conf import Positional

from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import read_table
from cortex.core.weights import read_weights
from cortex.data.decoded import read_decoded
from cortex.data.manifest import SCHEMA as MANIFEST
from cortex.data.packed import read_packed
from cortex.data.shard_reader import read_shard

KINDS = (".tar", ".parquet", ".npy", ".safetensors")


def verify(results: Positional[Path]) -> None:
    """Check every file of a finished run; print a line for each that is damaged or lost, and fail if there are any.

    Shards are held against the size and SHA-256 in the manifest, tables against the checksums of their pages, packed
    grids and decoded images against the manifest's counts, weights against the sizes that they declare (they have no
    checksum). The planted benchmark's shards and grids, which no manifest lists, are held against the checksums that
    the shards carry, the images of truth.parquet, and the sizes that the grids declare. Delete what is damaged and run
    snakemake: it makes just that, and what depends on it, again. Files that are gone and in no manifest, it misses by
    itself.

    Args:
        results: folder of a run, such as results/digits.
    """
    manifest = results / "data" / "manifest.parquet"
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; is {results} the folder of a finished run?")
    rows = read_table(manifest, MANIFEST.names).to_pylist()
    listed = {manifest.parent / row["path"]: row for row in rows}
    files = sorted({path for path in results.rglob("*") if path.suffix in KINDS} | listed.keys())
    problems = list(_problems(files, listed, results / "planted"))
    for problem in problems:
        print(problem)
    if problems:
        raise InputError(f"{results}: {len(problems)} of {len(files)} files are damaged or lost")
    print(f"{results}: {len(files)} files are whole; weights and arrays (.npy) by their sizes, all else by checksums")


def _problems(files: list[Path], listed: dict[Path, dict[str, Any]], planted: Path) -> Iterator[str]:
    for path in progress(files, len(files), "verifying", "file"):
        try:
            if path.suffix == ".parquet":
                read_table(path)
            elif path.suffix == ".safetensors":
                read_weights(path)
            elif path.is_relative_to(planted):
                _check_by_itself(path)
            elif path.suffix == ".tar":
                _check_shard(path, listed.get(path))
            elif path.parent.name == "images":
                _check_decoded(path, listed.get(path.parent.parent / f"{path.stem}.tar"))
            else:
                _check_packed(path, sum(row["samples"] for shard, row in listed.items() if shard.parent == path.parent))
        except InputError as error:
            yield str(error)
        except OSError as error:
            yield f"{path}: {error.strerror or error}"


def _check_shard(path: Path, row: dict[str, Any] | None) -> None:
    if row is None:
        raise InputError(f"{path}: not in the manifest")
    if not path.is_file():
        raise InputError(f"{path}: in the manifest, but not there")
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == row["sha256"]:
            return
    for _ in read_shard(path, images="any"):  # names the member where the damage shows
        pass
    size = path.stat().st_size
    raise InputError(
        f"{path}: its content is not what the manifest lists: {size} bytes of {row['bytes']}, another SHA-256"
    )


def _check_by_itself(path: Path) -> None:
    if path.suffix == ".npy":
        read_packed(path)
        return
    keys = [sample.key for sample in read_shard(path)]
    if path.stat().st_size % tarfile.RECORDSIZE:
        raise InputError(f"{path}: {path.stat().st_size} bytes; a whole tar has a multiple of {tarfile.RECORDSIZE}")
    try:
        truth = read_table(path.parent / "truth.parquet", ["split", "key"])
    except InputError:
        return  # which is told of that file
    expected = truth.filter(pc.equal(truth["split"], path.stem))["key"].to_pylist()
    if keys != expected:
        raise InputError(f"{path}: {len(keys)} images; not those that truth.parquet lists, {len(expected)}")


def _check_decoded(path: Path, row: dict[str, Any] | None) -> None:
    if row is None:
        raise InputError(f"{path}: no shard in the manifest has these images")
    found = len(read_decoded(path))
    if found != row["samples"]:
        raise InputError(f"{path}: {found} images; the manifest's shard has {row['samples']}")


def _check_packed(path: Path, images: int) -> None:
    found = len(read_packed(path))
    if found != images:
        raise InputError(f"{path}: {found} images; the manifest's shards have {images}")
