"""Settings of the study of scales."""

from pydantic import Field

from cortex.core.settings import Count, Counts
from cortex.studies.base import StudySettings


class Scales(StudySettings):
    """What tokens of each scale carry, for generators whose tokens have several scales."""

    images_per_class: Count = Field(5, description="images of every class, the first of the test split")
    n: Counts = Field([20, 50, 100], description="tokens of highest importance to remove; a result for each")
