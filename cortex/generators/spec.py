"""What is stated of a generator without its networks: where it comes from, its shapes, and what it can do."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from cortex.generators.sampling import Sampling

MAX_CODES = 1 << 16  # of a codebook: grids are stored as uint16


@dataclass(frozen=True)
class Origin:
    """Where a generator comes from; nothing at all: the family's default one.

    Args:
        weights: weights file, or the name of a generator that comes with its family.
        folder: folder of published checkpoints, which are still to be converted.
        class_names: UTF-8 text, a class name a line, for checkpoints and codebooks that state none.
        grid: (h, w) of the token grids, for a codebook or published files that state none.
    """

    weights: Path | None = None
    folder: Path | None = None
    class_names: Path | None = None
    grid: tuple[int, int] | None = None


def is_name(weights: Path) -> bool:
    """Whether it names a generator that comes with its family: it has no suffix, and there is no such file."""
    return not weights.suffix and not weights.is_file()


@dataclass(frozen=True)
class GeneratorSpec:
    """Shapes and capabilities of a generator of any family. The defaults are those of a codebook alone.

    Every token is a tile of the image: token (i, j) covers rows i·H/h and columns j·W/w onwards. Tokens of several
    scales stand in one row of the grid, scale after scale, each row by row: every scale tiles the image.

    Args:
        class_names: one a class, in the order of the class indices; empty where the generator is not conditional on
            classes and was given none.
        grid: (h, w) of a token grid.
        codes: codes in the codebook, K, at most 65,536.
        channels: channels of a code, d.
        image: (H, W) of an image; (0, 0) where the generator does not decode, and the run was given no pictures.
        pixels: what the decoder calls black and white: (-1, 1) or (0, 1).
        samples: whether it draws grids of classes.
        decodes: whether it turns grids into images.
        encodes: whether it turns images into grids.
        prior: whether it states the likelihood of grids.
        guidance: whether it has a null class, and so can be guided.
        published: how its authors sample for the figures of their paper.
        scales: rows and columns of every scale, from coarse to fine; empty: tokens have one scale. Every scale has the
            same number of codes, of its own.
    """

    class_names: tuple[str, ...]
    grid: tuple[int, int]
    codes: int
    channels: int
    image: tuple[int, int] = (0, 0)
    pixels: tuple[float, float] = (-1.0, 1.0)
    samples: bool = False
    decodes: bool = False
    encodes: bool = False
    prior: bool = False
    guidance: bool = False
    published: Sampling = field(default_factory=Sampling)
    scales: tuple[int, ...] = ()

    @property
    def map(self) -> tuple[int, int]:
        """(h, w) of what extractors read: of the grid, or of the map that tokens of several scales add up to."""
        return (self.scales[-1], self.scales[-1]) if self.scales else self.grid

    def with_classes(self, class_names: tuple[str, ...]) -> "GeneratorSpec":
        """The spec of the tokenizer alone, for images of other classes: what needs the own ones is left out."""
        return replace(self, class_names=class_names, samples=False, prior=False, guidance=False, published=Sampling())
