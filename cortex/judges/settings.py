"""Settings of the judges: networks that the run trains, or that come with weights (METHOD.md, section 6)."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from cortex.core.errors import InputError
from cortex.core.settings import Count, File, Fraction, Rate, Section, Seed, WrongValueError
from cortex.data.settings import CLASS_NAMES, PICTURES, Augmentation
from cortex.generators.class_names import read_class_names


def _positive(values: list[float]) -> list[float]:
    if min(values) <= 0:
        raise ValueError("should be above 0")
    return values


Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class JudgeSettings(Section):
    """Settings of every judge.

    ``shape`` names the fields that the network's constructor takes.
    """

    shape: ClassVar[frozenset[str]] = frozenset()
    package: ClassVar[tuple[str, str] | None] = None  # module that judging needs, and what to install for it
    classes: ClassVar[int | None] = None  # classes that it knows; None: as many as its pictures or weights have
    other_classes: ClassVar[str | None] = None  # name of its classes, where they are one known list

    network: str = Field(description="network of the judge: a registered name, or module:Class")

    def network_arguments(self) -> dict[str, Any]:
        """The settings that the network's constructor takes."""
        return {name: getattr(self, name) for name in sorted(self.shape)}

    def known_classes(self) -> tuple[str, ...] | None:
        """Names of the classes that the judge knows or may know; None where nothing states them.

        Raises:
            InputError: what states them is missing or damaged.
        """
        return None


class TrainedJudge(JudgeSettings):
    """A judge that the run trains on labelled pictures; its constructor takes ``classes`` and ``size``, too."""

    images: File = Field(description=f"labelled pictures: {PICTURES}")
    held_out: File | None = Field(
        None,
        description="pictures to measure the accuracy on, of the same kinds; null: every tenth picture of each class",
    )
    class_names: File | None = Field(None, description=CLASS_NAMES)
    size: Annotated[int, Field(ge=8, multiple_of=8)] = Field(
        description="height and width of a picture in pixels; the middle square of others is resized"
    )
    augmentation: Augmentation = Field(
        "flip", description="random change of every picture: none, flip, flips_and_turns (8 variants) or jitter"
    )
    epochs: Count = Field(description="passes over the pictures")
    batch: Annotated[int, Field(ge=2)] = Field(64, description="pictures a step")
    learning_rate: Rate = Field(1e-3, description="peak learning rate of AdamW; it warms up, then falls along a cosine")
    label_smoothing: Fraction = Field(0.0, description="share of the target that is spread evenly over all classes")
    seed: Seed = Field(0, description="seed of the initial weights, the order and the augmentation")

    def network_arguments(self) -> dict[str, Any]:
        return {"size": self.size, **super().network_arguments()}

    def known_classes(self) -> tuple[str, ...] | None:
        from cortex.data.picture_sources import stated_classes

        return stated_classes(self.images, self.class_names_file())

    def class_names_file(self) -> Path | None:
        """The file of class names, if there is one."""
        return None if self.class_names is None else Path(self.class_names)


class ResNetJudge(TrainedJudge):
    """A residual network that the run trains on labelled pictures."""

    shape: ClassVar[frozenset[str]] = frozenset({"width"})

    width: Count = Field(16, description="channels at half the resolution; they double with every further halving")


class ViTJudge(TrainedJudge):
    """A vision transformer that the run trains on labelled pictures."""

    shape: ClassVar[frozenset[str]] = frozenset({"width", "layers", "heads"})

    width: Annotated[int, Field(ge=4, multiple_of=4)] = Field(64, description="channels of the transformer")
    layers: Count = Field(4, description="layers of the transformer")
    heads: Count = Field(4, description="attention heads; their number divides the width")

    @model_validator(mode="after")
    def _heads_divide(self) -> "ViTJudge":
        if self.width % self.heads:
            raise WrongValueError("width", self.width, f"should be a multiple of heads = {self.heads}")
        return self


class PretrainedJudge(JudgeSettings):
    """A judge with weights from elsewhere: those of the network's package, or of a file."""

    weights: File | None = Field(None, description="weights file; null: those of the network's own package")
    class_names: File | None = Field(
        None,
        description="text file of the names of the judge's classes, one a line in the order of its outputs, to match "
        "them to the run's by name; null: those that the judge states",
    )

    def known_classes(self) -> tuple[str, ...] | None:
        if self.class_names is None:
            return None
        names = tuple(read_class_names(Path(self.class_names)))
        if self.classes is not None and len(names) != self.classes:
            raise InputError(f"{self.class_names}: {len(names)} names; the judge knows {self.classes} classes")
        return names

    def file(self) -> Path | None:
        """The weights file; None where the network's package has the weights."""
        return None if self.weights is None else Path(self.weights)


class ImageNetJudge(PretrainedJudge):
    """A judge of ImageNet's classes."""

    classes: ClassVar[int | None] = 1000
    other_classes: ClassVar[str | None] = "ImageNet's 1000 classes"


class OnnxJudge(PretrainedJudge):
    """A judge of your own as an ONNX file; it needs the extra `onnx`."""

    package: ClassVar[tuple[str, str] | None] = ("onnxruntime", "onnxruntime, this package's extra 'onnx'")
    shape: ClassVar[frozenset[str]] = frozenset({"size", "mean", "std", "outputs"})

    weights: File = Field(
        description="ONNX file, with its weights inside, of one input, float [B, 3, size, size], and one output, "
        "[B, classes]"
    )
    class_names: File = Field(
        description="text file of the names of the model's classes, one a line in the order of its output; they are "
        "matched to the run's by name"
    )
    size: Count = Field(description="height and width of the model's input in pixels; images are resized to it")
    mean: Channels = Field([0.0, 0.0, 0.0], description="subtracted from red, green and blue in 0..1")
    std: Annotated[Channels, AfterValidator(_positive)] = Field(
        [1.0, 1.0, 1.0], description="what the differences are divided by"
    )
    outputs: Literal["logits", "probabilities"] = Field("logits", description="what the model gives for every class")

    def network_arguments(self) -> dict[str, Any]:
        length = Path(self.weights).stat().st_size
        return {"classes": len(self.known_classes() or ()), "length": length, **super().network_arguments()}


class BundledJudge(PretrainedJudge):
    """A judge whose weights ship with this package, as ``cortex train-judge`` wrote them."""

    weights: File | None = Field(
        None, description="file that cortex train-judge wrote; null: the one that ships with this package"
    )

    def file(self) -> Path:
        if self.weights is not None:
            return Path(self.weights)
        return Path(str(resources.files("cortex.judges").joinpath("bundled", f"{self.network}.safetensors")))

    def known_classes(self) -> tuple[str, ...] | None:
        from cortex.judges.stated import stated_judge

        own = stated_judge(self.file())
        return own.named(super().known_classes(), str(self.class_names)).class_names or None


class SavedJudge(BundledJudge):
    """A judge of a file that ``cortex train-judge`` wrote."""

    weights: File = Field(description="file that cortex train-judge wrote; it states the network")
