"""Settings of the generator: whose weights, and how it samples (METHOD.md, section 1)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cortex.core.settings import Count, File, Fraction, Rate, Section, Seed, WrongValueError

Precision = Literal["auto", "float32", "bfloat16"]
Step = Literal["auto", "plain", "captured", "compiled"]


class Sampling(Section):
    """How tokens are drawn from the prior's distributions."""

    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="divisor of the logits of the next token")
    top_k: Count | None = Field(600, description="draw from the k most probable tokens; null: from all")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        0.92, description="draw from the most probable tokens that together exceed this probability; null: from all"
    )


class CanonicalBatch(Section):
    """Composition of the batches in which samples are computed: a sample's batch is always the same."""

    classes: Count = Field(10, description="neighbouring classes of a batch")
    indices: Count = Field(10, description="indices of each of these classes")


class GeneratorSettings(Sampling):
    """The generator: its family, its weights, and how it samples. Without weights: the digits generator."""

    family: str = Field("taming", description="generator family: a registered name, or module:Attribute")
    weights: File | None = Field(None, description="weights file (safetensors); null: the bundled digits generator")
    folder: File | None = Field(None, description="folder of published checkpoints to convert, in place of weights")
    class_names: File | None = Field(None, description="text file of class names, a line each, beside folder")
    precision: Precision = Field(
        "auto", description="of the prior's large products; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    step: Step = Field("auto", description="how a token is drawn; auto: captured on a GPU, plain on a CPU")
    batch: CanonicalBatch = Field(CanonicalBatch(), description="composition of a canonical batch")

    @model_validator(mode="after")
    def _one_origin(self) -> "GeneratorSettings":
        if self.folder is not None and self.weights is not None:
            raise WrongValueError("folder", self.folder, f"should not be set beside weights = {self.weights!r}")
        if self.class_names is not None and self.folder is None:
            raise WrongValueError("class_names", self.class_names, "should be set beside folder only")
        return self

    def sampling(self) -> Sampling:
        """The sampling options alone."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})


class GeneratorTraining(Section):
    """The recipe of the bundled digits generator (``snakemake train_generator``)."""

    seed: Seed = Field(0, description="seed of the initial weights, the order and the jitter of the digits")
    batch: Annotated[int, Field(ge=2)] = Field(64, description="images a step")
    vqgan_epochs: Count = Field(20, description="passes over the digits for the VQGAN")
    vqgan_learning_rate: Rate = Field(1e-3, description="peak learning rate of Adam for the VQGAN")
    rate_weight: Annotated[float, Field(ge=0)] = Field(
        0.01, description="price of a nat of code length, in units of the mean absolute error of images in -1..1"
    )
    transformer_epochs: Count = Field(40, description="passes over the digits for the GPT")
    transformer_learning_rate: Rate = Field(1e-3, description="peak learning rate of AdamW for the GPT")
    dropout: Fraction = Field(0.1, description="dropout of the GPT")
