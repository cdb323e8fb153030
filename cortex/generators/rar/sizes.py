"""Published sizes of RAR, and how its authors sample from each for FID."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A published size.

    Args:
        name: as in the files' names.
        temperature, guidance, power: of README_RAR.md in 1d-tokenizer's repository; tokens are not cut off.
    """

    name: str
    temperature: float
    guidance: float
    power: float


SIZES = {  # (width, layers)
    (768, 24): Size("B", 1.0, 16.0, 2.75),
    (1024, 24): Size("L", 1.02, 15.5, 2.5),
    (1280, 32): Size("XL", 1.02, 6.9, 1.5),
    (1408, 40): Size("XXL", 1.02, 8.0, 1.2),
}
