"""Settings of the planted benchmark, and how much can be planted in a grid and a codebook."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from cortex.core.settings import Count, Section, WrongValueError, distinct
from cortex.data.settings import PerClass
from cortex.extractors.config import ExtractorMap
from cortex.studies.attributions.settings import AttributedImages
from cortex.studies.base import StudySettings

# Codes that mark a class: plain, codes of its own; shortcut, these and one that goes with the class in training only;
# shared, half of them its neighbour's too; combination, two codes that mark it only together.
Variant = Literal["plain", "shortcut", "shared", "combination"]


def needed_positions(variant: Variant, classes: int, positions: int) -> int:
    """Positions of a grid that planted codes take."""
    return {"shortcut": positions + positions // 2, "combination": classes * positions}.get(variant, positions)


def most_codes(codes: int, classes: int) -> int:
    """Codes that every class may have at most: half of the codebook is background, and a shortcut takes one more."""
    return codes // 2 // classes - 1


class PlantedGrids(Section):
    """Synthetic grids with known ground truth."""

    classes: Annotated[int, Field(ge=2, multiple_of=2)] = Field(4, description="classes, an even number")
    codes: Annotated[int, Field(ge=1, le=1 << 16)] = Field(128, description="codes in the codebook")
    codes_per_class: Annotated[int, Field(ge=2)] = Field(4, description="codes that mark a class; 2 in a combination")
    positions: Annotated[int, Field(ge=2)] = Field(
        8, description="positions of an image that hold these codes; a shortcut takes half as many more"
    )
    per_class: PerClass = Field(
        PerClass(train=400, validation=60, test=60), description="images of every class, by split"
    )

    @model_validator(mode="after")
    def _codes_fit(self) -> "PlantedGrids":
        if self.codes_per_class > (most := most_codes(self.codes, self.classes)):
            raise WrongValueError(
                "codes_per_class",
                self.codes_per_class,
                f"should be at most {most}, so that half of codes = {self.codes} is left to the background",
            )
        if self.positions < self.codes_per_class:
            raise WrongValueError(
                "positions", self.positions, f"should be at least codes_per_class = {self.codes_per_class}"
            )
        return self


class Planted(PlantedGrids, StudySettings):
    """Planted benchmark: synthetic grids with known ground truth, explained as the run's own images are."""

    variants: Annotated[list[Variant], Field(min_length=1), AfterValidator(distinct)] = Field(
        list(get_args(Variant)), description="kinds of codes that mark a class; a benchmark for each"
    )
    attributions: AttributedImages = Field(
        AttributedImages(), description="attributions beside the importance, and the test images that they score"
    )
    searched_per_class: Count = Field(3, description="test images of every class for the codebook search")
    extractors: ExtractorMap = Field(description="extractors of the benchmark by name")

    @model_validator(mode="after")
    def _images_suffice(self) -> "Planted":
        most = self.per_class.test
        for key, count in (
            ("attributions.images_per_class", self.attributions.images_per_class),
            ("searched_per_class", self.searched_per_class),
        ):
            if count > most:
                raise WrongValueError(key, count, f"should be at most per_class.test = {most}")
        for name, settings in self.extractors.items():
            if settings.gpus > 1:
                raise WrongValueError(f"extractors.{name}.gpus", settings.gpus, "should be 1")
        return self
