"""Settings of the information extractors: the network's shape and the recipe that trains it (METHOD.md, section 3)."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from cortex.core.settings import Count, File, Fraction, Rate, Section, WrongValueError, distinct
from cortex.extractors.stated import stated_extractor

Precision = Literal["float32", "bfloat16", "float16"]


class ExtractorSettings(Section):
    """Settings of every extractor; those of a network add its shape.

    A network's own settings derive from :class:`StepTraining` or :class:`WarmUpTraining`, which choose the optimizer
    and its schedule, or from this class: Adam at a constant rate. ``shape`` names the fields that the network's
    constructor takes.
    """

    shape: ClassVar[frozenset[str]] = frozenset()
    # Of the arithmetic on a GPU where the settings state none. On a CPU it is float32.
    published_gpu_precision: ClassVar[Precision] = "float32"
    # How often a network is trained and by how many processes; no part of the recipe of one training.
    of_the_run: ClassVar[frozenset[str]] = frozenset({"seeds", "gpus"})

    network: str = Field(description="network of the extractor: a registered name, or module:Class")
    seeds: Count = Field(
        3, description="trainings, each with a seed of its own; of one training, no comparison has a verdict"
    )
    epochs: Count = Field(80, description="passes over the training data")
    batch: Annotated[int, Field(ge=2)] = Field(256, description="images a step")
    learning_rate: Rate = Field(1e-3, description="highest learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        1e-4, description="weight decay of Adam (L2) or AdamW (decoupled)"
    )
    precision: Precision | None = Field(
        None,
        description="arithmetic precision; null: as published (float16 for the transformer on a GPU, else float32)",
    )
    compile: bool = Field(False, description="compile the network with torch.compile first")
    gpus: Count = Field(1, description="processes that share every batch, each on a GPU of its own")

    def network_arguments(self) -> dict[str, Any]:
        """The settings that the network's constructor takes."""
        return {name: getattr(self, name) for name in sorted(self.shape)}


class PretrainedExtractor(Section):
    """An extractor that was trained elsewhere; its files state the network's shape."""

    network: str = Field(description="network of the extractor, as its files state it")
    weights: Annotated[list[File], Field(min_length=1), AfterValidator(distinct)] = Field(
        description="files that cortex import-extractor or cortex train-extractor wrote, one for each training"
    )

    @property
    def seeds(self) -> int:
        """Trainings: as many as files."""
        return len(self.weights)

    def network_arguments(self) -> dict[str, Any]:
        """What the first file states of the arguments of the network's constructor.

        Raises:
            InputError: the file is missing, truncated, or not an extractor's.
        """
        return stated_extractor(Path(self.weights[0])).arguments


class StepTraining(ExtractorSettings):
    """Adam; the learning rate steps down."""

    step_epochs: Count = Field(20, description="epochs between two reductions of the learning rate")
    step_factor: Rate = Field(0.1, description="factor of the learning rate at each reduction")


class WarmUpTraining(ExtractorSettings):
    """AdamW; the learning rate warms up linearly, then falls to 0 along a cosine."""

    warm_up: Fraction = Field(0.1, description="share of all iterations in which the learning rate warms up")


class CnnSettings(StepTraining):
    """CE, the convolutional extractor, and its deeper variant."""

    shape: ClassVar[frozenset[str]] = frozenset({"width", "hidden", "dropout"})

    width: Count = Field(512, description="channels of every convolution")
    hidden: Count = Field(4096, description="units of the fully connected layers")
    dropout: Fraction = Field(0.5, description="dropout between the fully connected layers")


class ResnetSettings(StepTraining):
    """RE, the residual extractor."""

    shape: ClassVar[frozenset[str]] = frozenset({"width", "hidden", "dropout"})

    width: Annotated[int, Field(ge=16)] = Field(512, description="channels of every block")
    hidden: Count = Field(2048, description="units of the first fully connected layer")
    dropout: Fraction = Field(0.4, description="dropout after the first fully connected layer")


class TransformerSettings(WarmUpTraining):
    """TE, the transformer extractor."""

    shape: ClassVar[frozenset[str]] = frozenset(
        {"width", "layers", "heads", "mlp", "hidden", "dropout", "initial_deviation"}
    )
    published_gpu_precision: ClassVar[Precision] = "float16"

    width: Count = Field(512, description="channels of the transformer")
    layers: Count = Field(12, description="layers of the transformer")
    heads: Count = Field(8, description="attention heads; their number divides the width")
    mlp: Count = Field(2048, description="units of the transformer's MLPs")
    hidden: Count = Field(1024, description="units of the classifier's hidden layer")
    dropout: Fraction = Field(0.2, description="dropout of the transformer")
    # Tokens have a deviation near 1 after scaling. At 0.02, positions are too small beside them to count at first.
    initial_deviation: Annotated[float, Field(gt=0)] = Field(
        1.0, description="standard deviation of the initial class token and positions; 0.02 in the released code"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> "TransformerSettings":
        if self.width % self.heads:
            raise WrongValueError("width", self.width, f"should be a multiple of heads = {self.heads}")
        return self
