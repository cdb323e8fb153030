"""What an extractor's file states of the extractor: its network, and the arguments that build it; without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError, reason_of
from cortex.core.weights_metadata import read_metadata


@dataclass(frozen=True)
class StatedExtractor:
    """An extractor without its weights.

    Args:
        network: name of the network: a registered name, or module:Class.
        arguments: of its constructor: channels, classes, grid and the network's shape.
    """

    network: str
    arguments: dict[str, Any]


def stated_extractor(path: Path) -> StatedExtractor:
    """What the extractor's file at ``path`` states.

    Raises:
        InputError: the file is missing, truncated, or not an extractor's.
    """
    return stated_in(read_metadata(path), path)


def stated_in(metadata: Mapping[str, str], path: Path) -> StatedExtractor:
    """What the metadata of the file at ``path`` states of its extractor.

    Raises:
        InputError: the file is not an extractor's.
    """
    if "extractor" not in metadata:
        raise InputError(f"{path}: not an extractor's weights: its metadata has no 'extractor'")
    try:
        stated = json.loads(metadata["extractor"])
        return StatedExtractor(str(stated["network"]), dict(stated["settings"]))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(
            f"{path}: not an extractor's weights: its 'extractor' is wrong: {reason_of(repr(error))}"
        ) from None
