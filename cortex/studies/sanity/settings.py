"""Settings of the randomisation tests."""

from typing import Annotated

from pydantic import AfterValidator, Field

from cortex.core.settings import Count, Name, distinct
from cortex.studies.base import StudySettings


class Sanity(StudySettings):
    """Randomisation tests: scores of extractors with random weights, and of extractors trained on shuffled labels."""

    images_per_class: Count = Field(10, description="images of every class, the first of the test split")
    top_n: Count = Field(5, description="highest positions of an image for the share on even rows and columns")
    shuffled: Annotated[list[Name], AfterValidator(distinct)] = Field(
        [], description="extractors of the run to train again on shuffled labels"
    )
