"""Settings of the study of stability over noise."""

from pydantic import Field, model_validator

from cortex.core.settings import Count, Counts, WrongValueError
from cortex.studies.base import StudySettings


class Stability(StudySettings):
    """Stability of tis over noise seeds and sample counts, beside a reference of more samples."""

    images_per_class: Count = Field(10, description="images of every class, the first of the test split")
    samples: Counts = Field([1, 5, 10, 20, 50], description="numbers of noisy copies of an image to compare")
    reference: Count = Field(200, description="noisy copies of the reference, more than the largest of samples")
    top_n: Counts = Field([5, 10, 20], description="highest positions of an image for the overlap; a result for each")

    @model_validator(mode="after")
    def _reference_is_most(self) -> "Stability":
        if self.reference <= max(self.samples):
            raise WrongValueError("reference", self.reference, f"should be more than samples = {max(self.samples)}")
        return self
