"""Settings of the data set: classes, numbers of images, shards, imports (METHOD.md, section 2)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cortex.core.settings import Class, Count, Section, WrongValueError, distinct

KeptImages = Literal["png", "jpeg", "webp", "none"]
Augmentation = Literal["none", "flip", "flips_and_turns", "jitter"]


class PerClass(Section):
    """Images of every class, by split."""

    train: Count = Field(1000, description="images of every class to train extractors on")
    validation: Count = Field(300, description="images of every class to choose an extractor's epoch by")
    test: Count = Field(50, description="images of every class to explain and judge")


class Images(Section):
    """Image formats of the shards. Judges read the images of the test split, the report those of all splits."""

    train: KeptImages = Field("png", description="png (lossless), jpeg, webp, or none: images are not decoded")
    validation: KeptImages = Field("png", description="png, jpeg, webp, or none")
    test: KeptImages = Field("png", description="png, jpeg, webp, or none: a run without judges")


class ImageFiles(Section):
    """Format of the images in a shard."""

    images: KeptImages = Field("png", description="png (lossless), jpeg, webp, or none: images are not decoded")
    quality: Annotated[int, Field(ge=1, le=100)] = Field(95, description="quality of jpeg and webp")


class ImportedSplit(Section):
    """Labels and grids from elsewhere: .csv, .parquet, or .npy with a .npy file of labels."""

    source: Annotated[str, Field(pattern=r"\.(csv|parquet|npy)$")] = Field(
        description="file of labels and grids: .csv, .parquet or .npy"
    )
    labels: Annotated[str, Field(pattern=r"\.npy$")] | None = Field(
        None, description=".npy file of labels, if the source is .npy"
    )
    embeddings: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="folder of .npy embeddings, for the rows of a CSV that have no indices"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ImportedSplit":
        if self.source.endswith(".npy") != (self.labels is not None):
            raise WrongValueError("labels", self.labels, "goes with a source that is .npy, and with no other")
        if self.embeddings is not None and not self.source.endswith(".csv"):
            raise WrongValueError(
                "embeddings", self.embeddings, "goes with a source that is .csv, and with nothing else"
            )
        return self


class Imports(Section):
    """Splits that are imported instead of drawn."""

    train: ImportedSplit | None = Field(None, description="source of the train split; null: drawn")
    validation: ImportedSplit | None = Field(None, description="source of the validation split; null: drawn")
    test: ImportedSplit | None = Field(None, description="source of the test split; null: drawn")

    def chosen(self) -> dict[str, ImportedSplit]:
        """The imported splits by name."""
        return {split: imported for split, imported in self if imported is not None}


class Data(Section):
    """The data set."""

    classes: Annotated[list[Class], Field(min_length=2), AfterValidator(distinct)] | None = Field(
        None, description="class indices of the run; null: all classes of the generator"
    )
    per_class: PerClass = Field(PerClass(), description="images of every class, by split")
    shard_size: Count = Field(10_000, description="images of a shard")
    images: Images = Field(Images(), description="image formats of the shards, by split")
    imports: Imports = Field(Imports(), description="splits that are imported instead of drawn")
    image_quality: Annotated[int, Field(ge=1, le=100)] = Field(95, description="quality of jpeg and webp")
