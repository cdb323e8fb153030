"""Settings of the dictionary of the codebook (METHOD.md, section 12)."""

from typing import Annotated

from pydantic import Field

from cortex.core.settings import Count, Rate, Section, Share


class Kinds(Section):
    """Kinds of codes: a code marks a class, is shared by classes, belongs to the background, or is hardly used."""

    least_share: Rate = Field(
        0.15,
        description="train images that hold a code, as a share of the mean number of train images of a class; a code "
        "of fewer is hardly used",
    )
    marks: Share = Field(
        0.5,
        description="a code marks a class that has at least 1/C + marks · (1 − 1/C) of its occurrences, with C classes",
    )
    shared: Annotated[float, Field(ge=1)] = Field(
        1.5,
        description="a code is shared by classes if two of its occurrences, in different images, have the same class "
        "at least this many times as often as by chance; otherwise the code is background",
    )


class Causes(Section):
    """Effects of a code on the judges' probability of a class, measured on a sample of the test images."""

    pairs: Annotated[int, Field(ge=0)] = Field(
        2000,
        description="pairs of a class and a code to measure, at most: codes that mark the class, then the first codes "
        "of every class by contrast; 0: none",
    )
    images_per_pair: Count = Field(
        20, description="test images of a class that hold a code, at most, for each of these pairs"
    )


class Dictionary(Section):
    """Dictionary of the codebook: a row for every code, and for every code and class."""

    kinds: Kinds = Field(Kinds(), description="kinds of codes")
    nearest: Count = Field(8, description="nearest codes of the codebook to list for a code")
    rows: Count = Field(
        1_000_000,
        description="maximum number of rows, each a pair of a code and a class; pairs in the most images are kept. The "
        "table's metadata states the lowest number of images",
    )
    causes: Causes = Field(Causes(), description="effects of masking a code, and of putting it in place of another")
