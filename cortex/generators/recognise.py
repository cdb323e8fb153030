"""Whose published files a folder holds, by the names of their tensors."""

from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from cortex.core.checkpoint import open_checkpoint
from cortex.core.errors import InputError
from cortex.generators import GENERATORS
from cortex.generators.load import load_family

SUFFIXES = {".pt", ".pth", ".bin", ".ckpt", ".safetensors"}


def recognise(folder: Path) -> str:
    """The registered name of the family whose files a folder holds, itself or in a folder in it.

    Raises:
        InputError: they are of no family, or of several.
    """
    names: set[str] = set()
    paths = [path for path in sorted({*folder.glob("*"), *folder.glob("*/*")}) if path.suffix in SUFFIXES]
    for path in paths:
        with suppress(InputError), open_checkpoint(path) as opened:  # other files may lie there
            names |= opened.tensors.keys()
    found = _families_of(names)
    for name in found:  # a prior tells its family, whose tokenizer another family may have published
        names -= getattr(load_family(name), "borrowed", frozenset())
    found = _families_of(names)
    if len(found) != 1:
        several = f"files of {' and '.join(found)}" if found else f"no files of a known family among {len(paths)}"
        raise InputError(f"{folder}: {several}: name the family: {', '.join(GENERATORS.names())}")
    return found[0]


def _families_of(names: Set[str]) -> list[str]:
    return [name for name in GENERATORS.names() if load_family(name).recognises(names)]
