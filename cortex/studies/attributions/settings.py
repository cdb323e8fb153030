"""Settings of the study of other attributions."""

from typing import Annotated

from pydantic import AfterValidator, Field

from cortex.core.errors import InputError, shown
from cortex.core.registry import REFERENCE
from cortex.core.settings import Count, Section, distinct
from cortex.explain import ATTRIBUTIONS
from cortex.studies.base import StudySettings


def _known(method: str) -> str:
    """A registered name, which is not imported, or the reference of a function."""
    if REFERENCE.fullmatch(ATTRIBUTIONS.reference(method)) and method not in ATTRIBUTIONS.names():
        found = ATTRIBUTIONS.load(method)
        if isinstance(found, type) or not callable(found):
            raise InputError(f"attribution {shown(method)}: no attribution: a {type(found).__name__}, not a function")
    return method


Method = Annotated[str, AfterValidator(_known)]


class AttributedImages(Section):
    """Attributions, and the images that they score."""

    methods: Annotated[list[Method], Field(min_length=1), AfterValidator(distinct)] = Field(
        ["gradient", "gradient_input", "integrated_gradients", "smoothgrad_mean", "occlusion", "random"],
        description="attributions beside the importance: registered names, or module:function",
    )
    images_per_class: Count = Field(20, description="images of every class, the first of the test split")
    steps: Count = Field(50, description="steps of the integral of integrated gradients")


class Attributions(AttributedImages, StudySettings):
    """Other attributions, judged at the image level as the importance is."""
