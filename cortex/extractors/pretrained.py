"""An extractor with weights from elsewhere, as an extractor file of the run (METHOD.md, section 3)."""

from pathlib import Path

import torch

from cortex.extractors.network import load_with_codebook, save_extractor
from cortex.extractors.stated import stated_extractor


def pretrained_extractor(output: Path, weights: Path, codebook: Path) -> None:
    """Write an extractor that was trained elsewhere.

    Args:
        output: weights to write (safetensors).
        weights: file that cortex import-extractor or cortex train-extractor wrote.
        codebook: the generator's codebook.

    Raises:
        InputError: a file is missing, truncated or another's; or the extractor reads codes of another number of
            channels.
    """
    network, _ = load_with_codebook(weights, codebook, torch.device("cpu"))
    stated = stated_extractor(weights)
    save_extractor(output, stated.network, stated.arguments, network.state_dict())
