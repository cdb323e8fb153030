"""What a file is by its first bytes, to tell a file of another kind from a damaged one."""

import re
from contextlib import suppress
from pathlib import Path

from cortex.core.errors import InputError, reason_of

SAFETENSORS, ZIP, PICKLE = "safetensors file", "zip archive, as torch.save and np.savez write it", "pickle"
BEGINNINGS = {
    SAFETENSORS: rb".{4}\0{4}\{",
    ZIP: rb"PK\x03\x04",
    PICKLE: rb"\x80[\x02-\x05]",
    "npy file": rb"\x93NUMPY",
    "Parquet file": rb"PAR1",
    "Arrow file": rb"ARROW1",
    "tar": rb".{257}ustar",
    "HDF5 file": rb"\x89HDF",
    "PNG image": rb"\x89PNG",
    "JPEG image": rb"\xff\xd8\xff",
    "file packed with gzip, which has to be unpacked": rb"\x1f\x8b",
    "file packed with bzip2, which has to be unpacked": rb"BZh",
    "file packed with xz, which has to be unpacked": rb"\xfd7zXZ",
    "file packed with zstd, which has to be unpacked": rb"\x28\xb5\x2f\xfd",
    "pointer of Git LFS, for which `git lfs pull` fetches the file": rb"version https://git-lfs",
    "web page, perhaps of a download that failed": rb"(?i:\s*<(!doctype|html))",
}
CHECKPOINT = "checkpoint"
LONGEST_BEGINNING = 9  # bytes, of those kinds of which every file has one
MARKED = (SAFETENSORS, ZIP, PICKLE, CHECKPOINT, "npy file", "Parquet file")  # every file of these kinds has a beginning
ALSO = {CHECKPOINT: (SAFETENSORS, ZIP, PICKLE)}  # kinds that are of an expected kind


def kind_of(start: bytes) -> str | None:
    """The kind of a file that begins so, as in :data:`BEGINNINGS`; 512 bytes tell."""
    return next((kind for kind, begins in BEGINNINGS.items() if re.match(begins, start, re.DOTALL)), None)


def not_whole(path: Path, expected: str, reason: object, where: str = "") -> InputError:
    """The error for a file that cannot be read: it is a folder, empty, of another kind than expected, or damaged.

    Args:
        path: the file.
        expected: the kind, as in :data:`BEGINNINGS`, or :data:`CHECKPOINT`.
        reason: what went wrong: text, or an error.
        where: the place that names the file, and a colon.
    """
    if path.is_dir() or (path.exists() and not path.stat().st_size):
        return InputError(f"{where}{path}: {'a folder' if path.is_dir() else 'an empty file'}; expected: {expected}")
    start = b""
    with suppress(OSError), open(path, "rb") as file:
        start = file.read(512)
    found = kind_of(start)
    if found not in (None, expected, *ALSO.get(expected, ())):
        return InputError(f"{where}{path}: expected: {expected}; found: {found}")
    whole = "" if found is None and expected in MARKED and len(start) >= LONGEST_BEGINNING else "whole "
    return InputError(f"{where}{path}: not a {whole}{expected}: {reason_of(reason)}")
