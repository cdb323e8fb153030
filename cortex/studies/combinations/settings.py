"""Settings of the study of combinations."""

from typing import Annotated

from pydantic import Field

from cortex.core.settings import Count, Counts
from cortex.studies.base import StudySettings


class Combinations(StudySettings):
    """Effect of removing several positions at once, and Shapley values of positions."""

    images_per_class: Count = Field(3, description="images of every class, the first of the test split")
    pairs: Annotated[int, Field(ge=2)] = Field(
        10, description="pairs of a random order and its reverse, from which Shapley values are estimated"
    )
    n: Counts = Field([2, 5, 10], description="positions to remove at once; a result for each")
