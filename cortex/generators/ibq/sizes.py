"""Published sizes of IBQ's priors, and how their authors sample from each for FID."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A published size.

    Args:
        name: as in the files' names.
        heads: of attention, which no weight tells.
        temperature, guidance: of sample_gpu.sh in SEED-Voken's repository; tokens are not cut off.
    """

    name: str
    heads: int
    temperature: float
    guidance: float


SIZES = {  # (width, layers)
    (1024, 16): Size("B", 16, 1.1, 2.25),
    (1280, 20): Size("L", 20, 1.0, 2.0),
    (1536, 24): Size("XL", 24, 1.15, 2.35),
    (1920, 30): Size("XXL", 30, 1.2, 2.85),
}
