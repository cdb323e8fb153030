"""Check a run's files: nothing truncated, no bit flipped in what has a checksum, no listed shard missing."""

import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from cortex.app.job_cost import written_files
from cortex.core.errors import InputError
from cortex.core.files import files_below
from cortex.core.progress import progress
from cortex.core.tables import read_table
from cortex.core.weights import read_weights
from cortex.data.decoded import read_decoded
from cortex.data.manifest import manifest_of, read_manifest
from cortex.data.packed import map_array, read_packed
from cortex.data.shard_reader import read_shard

KINDS = (".tar", ".parquet", ".npy", ".safetensors")
SHARD = re.compile(r"\d+\.(parquet|npy)|.+\.tar", re.ASCII)  # a file of one shard


def verify(results: Positional[Path]) -> None:
    """Check every file of a finished run, print a line for each damaged file or lost shard, and fail if there are any.

    The data set's shards are compared with the size and SHA-256 in the manifest; tables with the checksums of their
    pages; packed grids and decoded images with the manifest's counts. Shards elsewhere, such as a study's, are read in
    full. Weights and other arrays have no checksum; their size is compared with the size that they declare. Delete
    damaged files and run snakemake: it makes them, and all that depends on them, again. Links are followed. Files of
    other kinds are counted only.

    A file that a job wrote and that is no longer there is listed, without failing: a run of another config may not need
    it. Snakemake makes it again otherwise.

    Files of shards that the manifest does not list, as an earlier run with more images leaves them, do not belong to
    the run. No command reads them. They are listed and not checked.

    Args:
        results: folder of a run, such as results/landuse.
    """
    manifest = manifest_of(results)
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; is {results} the folder of a finished run?")
    listed = {manifest.parent / row["path"]: row for row in read_manifest(manifest)}
    found = set(files_below(results))
    strays = sorted(_strays(found, results, {row["path"].removesuffix(".tar") for row in listed.values()}))
    own = {path for path in found.difference(strays) if path.suffix in KINDS or not path.exists()}
    files = sorted(own | listed.keys())
    problems = list(_problems(files, listed))
    for problem in problems:
        print(problem)
    for path in sorted(set(written_files(results)).difference(found, files)):
        if found.isdisjoint(path.parents):  # below a link to nothing, which is a problem of its own
            print(f"{path}: a job wrote it, but it is not there; if the run still needs it, snakemake makes it again")
    for path in strays:
        print(f"{path}: not of this run: the manifest lists no such shard; no command reads it, and it can be deleted")
    if others := found.difference(files, strays):
        kinds = ", ".join(sorted({path.suffix or "without ending" for path in others}))
        print(f"Not looked at: {len(others)} files of other kinds ({kinds})")
    if problems:
        raise InputError(f"{results}: {len(problems)} of {len(files)} files are damaged or lost")
    print(f"{results}: {len(files)} files are whole; weights and arrays (.npy) by their sizes, all else by checksums")


def _strays(found: set[Path], results: Path, shards: set[str]) -> Iterator[Path]:
    """Files of shards that are none of the run's, such as train/000000."""
    for path in found:
        split = _split_of(path.relative_to(results).parts)
        if split and SHARD.fullmatch(path.name) and f"{split}/{path.stem}" not in shards:
            yield path


def _split_of(parts: tuple[str, ...]) -> str | None:
    """The split of a file in a folder of files of shards, by its path in the run; None elsewhere."""
    match parts:
        case ("data", split, _) | ("data", split, "images", _) | ("importance", *_, split, _):
            return split
        case ("evaluation", "image_level" | "concept_level", *_):
            return "test"
    return None


def _problems(files: list[Path], listed: dict[Path, dict[str, Any]]) -> Iterator[str]:
    """A line for every damaged or lost file."""
    splits = {path.parent for path in listed}
    for path in progress(files, len(files), "verifying", "file"):
        try:
            if path.is_symlink() and not path.exists():
                yield f"{path}: a link to {path.readlink()}, which is not there"
            elif path.suffix == ".parquet":
                read_table(path)
            elif path.suffix == ".safetensors":
                read_weights(path)
            elif path.suffix == ".tar" and path.parent in splits:
                _check_shard(path, listed[path])
            elif path.suffix == ".tar":
                _check_in_full(path)
            elif path.parent in splits:
                _check_packed(path, sum(row["samples"] for shard, row in listed.items() if shard.parent == path.parent))
            elif path.parent.name == "images" and path.parent.parent in splits:
                _check_decoded(path, listed[path.parent.parent / f"{path.stem}.tar"])
            else:
                map_array(path, "an array")
        except InputError as error:
            yield str(error)
        except OSError as error:
            yield f"{path}: {error.strerror or error}"


def _check_shard(path: Path, row: dict[str, Any]) -> None:
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


def _check_in_full(path: Path) -> None:
    """Read a shard that no manifest lists: its members carry checksums, and a whole tar fills its last record."""
    for _ in read_shard(path, images="any"):
        pass
    if path.stat().st_size % tarfile.RECORDSIZE:
        raise InputError(f"{path}: {path.stat().st_size} bytes; a whole tar has a multiple of {tarfile.RECORDSIZE}")


def _check_decoded(path: Path, row: dict[str, Any]) -> None:
    found = len(read_decoded(path))
    if found != row["samples"]:
        raise InputError(f"{path}: {found} images; the manifest's shard has {row['samples']}")


def _check_packed(path: Path, images: int) -> None:
    found = len(read_packed(path))
    if found != images:
        raise InputError(f"{path}: {found} images; the manifest's shards have {images}")
