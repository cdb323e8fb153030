"""Settings of the generator: whose weights, and how it samples (METHOD.md, section 1)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cortex.core.settings import Count, File, Section, WrongValueError
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin

Precision = Literal["auto", "float32", "bfloat16"]
Step = Literal["auto", "plain", "captured", "compiled"]


class CanonicalBatch(Section):
    """Composition of the canonical batches: a sample is always computed in the same batch."""

    classes: Count = Field(10, description="neighbouring classes of a batch")
    indices: Count = Field(10, description="indices of each of these classes in a batch")


class GeneratorSettings(Sampling):
    """The generator. Sampling options that are not set are as its authors publish; the defaults below are taming's.

    A strength of guidance that is set is constant, unless a schedule is set beside it.
    """

    family: str = Field(DEFAULT_FAMILY, description="generator family: a registered name, or module:Attribute")
    weights: File | None = Field(
        None,
        description="weights file (safetensors), or the name of a bundled generator: landuse or digits; null: landuse",
    )
    folder: File | None = Field(None, description="folder of published checkpoints to convert, in place of weights")
    class_names: File | None = Field(
        None, description="text file of class names, one a line; allowed beside folder, or beside grid"
    )
    grid: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = Field(
        None, description="rows and columns of a token grid, if a codebook alone or a folder does not state it"
    )
    precision: Precision = Field(
        "auto", description="precision of the prior's large products; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    step: Step = Field("auto", description="execution of a sampling step; auto: captured on a GPU, plain on a CPU")
    batch: CanonicalBatch = Field(CanonicalBatch(), description="composition of a canonical batch")

    @model_validator(mode="after")
    def _one_origin(self) -> "GeneratorSettings":
        if self.folder is not None and self.weights is not None:
            raise WrongValueError("folder", self.folder, f"should not be set beside weights = {self.weights!r}")
        if self.grid is not None and self.weights is None and self.folder is None:
            raise WrongValueError("grid", self.grid, "should be set beside weights, if a codebook alone, or folder")
        if self.class_names is not None and not self.converts():
            raise WrongValueError("class_names", self.class_names, "should be set beside folder only, or grid")
        return self

    def as_published(self, published: Sampling) -> "GeneratorSettings":
        """The settings, with the published value of every sampling option that is not set."""
        unset = Sampling.model_fields.keys() - self.model_fields_set
        if self.model_fields_set & {"guidance", "guidance_schedule"}:
            unset -= {"guidance_schedule", "guidance_power"}  # of the published strength
        return self.model_copy(update={name: getattr(published, name) for name in unset})

    def sampling(self) -> Sampling:
        """The sampling options alone."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})

    def origin(self) -> Origin:
        """Where the generator comes from."""
        return Origin(
            weights=None if self.weights is None else Path(self.weights),
            folder=None if self.folder is None else Path(self.folder),
            class_names=None if self.class_names is None else Path(self.class_names),
            grid=None if self.grid is None else (self.grid[0], self.grid[1]),
        )

    def converts(self) -> bool:
        """Whether a run first makes a weights file of what the settings name."""
        return self.folder is not None or self.grid is not None
