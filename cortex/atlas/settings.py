"""Settings of the atlas."""

from pydantic import Field

from cortex.core.settings import Count, Section


class Atlas(Section):
    """Atlas of the run: a folder of pages in which tokens, classes and images are looked up."""

    images_per_class: Count = Field(8, description="test images of a class that the atlas holds: the first ones")
