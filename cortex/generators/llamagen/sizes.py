"""Published sizes of LlamaGen, and how its authors sample from each for FID."""

from dataclasses import dataclass

from cortex.generators.sampling import Sampling


@dataclass(frozen=True)
class Size:
    """A published size.

    Args:
        name: as in the files' names.
        heads: of attention, which no weight tells.
        guidance: strength, of GETTING_STARTED.md in LlamaGen's repository.
    """

    name: str
    heads: int
    guidance: float


SIZES = {  # (width, layers)
    (768, 12): Size("B", 12, 2.0),
    (1024, 24): Size("L", 16, 2.0),
    (1280, 36): Size("XL", 20, 1.75),
    (1536, 48): Size("XXL", 24, 1.75),
    (3200, 24): Size("3B", 32, 1.65),
}


def published(width: int, layers: int) -> Sampling:
    """How the authors sample: guided, and neither cut off nor sharpened."""
    size = SIZES.get((width, layers))
    return Sampling(top_k=None, top_p=None, guidance=1.5 if size is None else size.guidance)  # 1.5: their default


def hidden_units(width: int) -> int:
    """Units of an MLP: two thirds of four times the width, up to a multiple of 256."""
    return -(-int(2 * 4 * width / 3) // 256) * 256
