"""Settings of the judges: networks trained in the run, or with published weights (METHOD.md, section 6)."""

from typing import Annotated, ClassVar

from pydantic import Field

from cortex.core.settings import Count, File, Rate, Section, Seed


class JudgeSettings(Section):
    """Settings of every judge."""

    classes: ClassVar[int | None] = None  # classes that it knows; None: as many as its weights say
    other_classes: ClassVar[str | None] = None  # name of its classes, where they are one known list

    network: str = Field(description="network of the judge: a registered name, or module:Class")


class TrainedJudge(JudgeSettings):
    """A judge that the run trains on real digits."""

    classes: ClassVar[int | None] = 10

    epochs: Count = Field(description="passes over the digits")
    batch: Annotated[int, Field(ge=2)] = Field(64, description="images a step")
    learning_rate: Rate = Field(1e-3, description="peak learning rate of AdamW, on a one-cycle schedule")
    seed: Seed = Field(0, description="seed of the initial weights, the order and the jitter")


class PretrainedJudge(JudgeSettings):
    """A judge with weights from elsewhere: those of the network's package, or of a file."""

    weights: File | None = Field(None, description="weights file; null: those of the network's own package")


class ImageNetJudge(PretrainedJudge):
    """A judge of ImageNet's classes."""

    classes: ClassVar[int | None] = 1000
    other_classes: ClassVar[str | None] = "ImageNet's 1000 classes"
