"""The metadata of a safetensors file, without torch."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from cortex.core.errors import InputError
from cortex.core.file_kinds import SAFETENSORS, not_whole


def read_metadata(path: Path) -> dict[str, str]:
    """The text by name that a weights file states beside its tensors.

    Raises:
        InputError: the file is missing, truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError) as error:
        raise not_whole(path, SAFETENSORS, error) from None
