"""Settings of the data set: classes, numbers of images, shards, imports (METHOD.md, section 2)."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cortex.core.settings import Count, File, Section, Seed, WrongValueError, distinct

KeptImages = Literal["png", "jpeg", "webp", "none"]
Augmentation = Literal["none", "flip", "flips_and_turns", "jitter"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
PICTURES = (
    "folder of class folders, WebDataset tar or folder of tars, Parquet file or folder of Parquet files, folder of "
    "Arrow files (save_to_disk of Hugging Face's datasets), or digits (those of the package)"
)
CLASS_NAMES = "text file of class names, one a line, for pictures whose classes are numbers from 0"


def _index_or_name(value: object) -> object:
    if type(value) is int and value < 0:
        raise ValueError("should be greater than or equal to 0")
    if type(value) not in (int, str) or value == "":
        raise ValueError("should be the index or the name of a class")
    return value


ClassOrName = Annotated[int | str, BeforeValidator(_index_or_name)]


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


class Shards(Section):
    """Shards of pictures."""

    format: KeptImages = Field("png", description="png (lossless), jpeg, webp, or none: the pictures are not kept")
    quality: Annotated[int, Field(ge=1, le=100)] = Field(95, description="quality of jpeg and webp")
    shard_size: Count = Field(10_000, description="samples of a shard")


class PicturePart(Section):
    """The pictures that a split takes."""

    split: Split = Field("train", description="train, validation or test: how the keys of the samples begin")
    per_class: Count | None = Field(None, description="pictures of every class; null: all of them")
    first: Annotated[int, Field(ge=0)] = Field(0, description="pictures of every class to pass over")
    seed: Seed | None = Field(
        None, description="shuffle the pictures of every class by this seed; null: in their order"
    )


class ImportedSplit(Section):
    """Labels and grids from elsewhere (.csv, .parquet, or .npy with a .npy file of labels), or labelled pictures."""

    source: Annotated[str, Field(pattern=r"\.(csv|parquet|npy)$")] | None = Field(
        None, description="file of labels and grids: .csv, .parquet or .npy"
    )
    labels: Annotated[str, Field(pattern=r"\.npy$")] | None = Field(
        None, description=".npy file of labels, if the source is .npy"
    )
    embeddings: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="folder of .npy embeddings, for the rows of a CSV that have no indices"
    )
    pictures: Annotated[str, Field(pattern=r"^image$|\.npy$")] | None = Field(
        None,
        description="images of the source's rows, for a generator without decoder: .npy file of uint8 [N, H, W, 3], or "
        "image, the column of a .parquet with image files",
    )
    images: File | None = Field(
        None, description=f"in place of a source, labelled pictures that the generator's encoder reads: {PICTURES}"
    )
    class_names: File | None = Field(None, description=CLASS_NAMES)

    @model_validator(mode="after")
    def _consistent(self) -> "ImportedSplit":
        if (self.source is None) == (self.images is None):
            raise WrongValueError("source", self.source, "either source or images should be set")
        source = self.source or ""
        if source.endswith(".npy") != (self.labels is not None):
            raise WrongValueError("labels", self.labels, "goes with a source that is .npy, and with no other")
        if self.embeddings is not None and not source.endswith(".csv"):
            raise WrongValueError(
                "embeddings", self.embeddings, "goes with a source that is .csv, and with nothing else"
            )
        if self.pictures == "image" and not source.endswith(".parquet"):
            raise WrongValueError(
                "pictures", self.pictures, "goes with a source that is .parquet; others take a .npy file"
            )
        if self.pictures is not None and self.source is None:
            raise WrongValueError("pictures", self.pictures, "goes with a source, and with nothing else")
        _names_go_with_images(self)
        return self

    def picture_file(self) -> str | None:
        """The file of the pictures beside the source, where they are not in it."""
        return None if self.pictures == "image" else self.pictures


class Imports(Section):
    """Splits that are imported instead of drawn."""

    train: ImportedSplit | None = Field(None, description="source of the train split; null: drawn")
    validation: ImportedSplit | None = Field(None, description="source of the validation split; null: drawn")
    test: ImportedSplit | None = Field(None, description="source of the test split; null: drawn")
    images: File | None = Field(
        None,
        description="labelled pictures of all splits, in place of the keys above. Each split takes its per_class of "
        f"every class, at random by the seed: {PICTURES}",
    )
    class_names: File | None = Field(None, description=CLASS_NAMES)

    @model_validator(mode="after")
    def _consistent(self) -> "Imports":
        if self.images is not None and (named := [split for split in SPLITS if getattr(self, split) is not None]):
            raise WrongValueError("images", self.images, f"should not be set beside {', '.join(named)}")
        _names_go_with_images(self)
        return self

    def chosen(self) -> dict[str, ImportedSplit]:
        """The imported splits by name."""
        if self.images is not None:
            return {split: ImportedSplit(images=self.images, class_names=self.class_names) for split in SPLITS}
        return {split: found for split in SPLITS if (found := getattr(self, split)) is not None}

    def pictures(self) -> dict[str, ImportedSplit]:
        """The splits by name that labelled pictures make."""
        return {split: imported for split, imported in self.chosen().items() if imported.images is not None}

    def pictures_alone(self) -> bool:
        """Whether labelled pictures make all splits: the classes of the run are theirs then."""
        return self.pictures().keys() == set(SPLITS)


def _names_go_with_images(part: ImportedSplit | Imports) -> None:
    if part.class_names is not None and part.images is None:
        raise WrongValueError("class_names", part.class_names, "goes with images, and with nothing else")


class Data(Section):
    """The data set."""

    classes: Annotated[list[ClassOrName], Field(min_length=2), AfterValidator(distinct)] | None = Field(
        None, description="classes of the run by index or name; null: all classes of the generator"
    )
    per_class: PerClass = Field(PerClass(), description="images of every class, by split")
    shard_size: Count = Field(10_000, description="images of a shard")
    images: Images = Field(Images(), description="image formats of the shards, by split")
    imports: Imports = Field(Imports(), description="splits that are imported instead of drawn")
    image_quality: Annotated[int, Field(ge=1, le=100)] = Field(95, description="quality of jpeg and webp")
