"""Settings of the study of other attributions."""

from typing import ClassVar

from pydantic import Field

from cortex.core.settings import Count, Section
from cortex.explain.settings import Methods
from cortex.studies.base import StudySettings


class AttributedImages(Section):
    """Attributions, and the images that they score."""

    moved: ClassVar[dict[str, str]] = {"steps": "write importance: {steps: ...}; "}

    methods: Methods = Field(
        ["gradient", "gradient_input", "integrated_gradients", "smoothgrad_mean", "occlusion", "random"],
        description="attributions beside tis: registered names, or module:function",
    )
    images_per_class: Count = Field(20, description="images of every class, the first of the test split")


class Attributions(AttributedImages, StudySettings):
    """Attributions, judged at the image level as the importance is."""
