"""Settings of the judges: networks trained in the run, or with published weights (METHOD.md, section 6)."""

from typing import Annotated, ClassVar

from pydantic import Field

from cortex.core.settings import Count, File, Rate, Section, Seed


class JudgeSettings(Section):
    """Settings of every judge."""

    network: str = Field(description="network: a registered name, or module:Class")


class TrainedJudge(JudgeSettings):
    """A judge that the run trains, on the real digits, which are the classes that it knows."""

    epochs: Count = Field(description="passes over the digits")
    batch: Annotated[int, Field(ge=2)] = Field(64, description="images a step")
    learning_rate: Rate = Field(1e-3, description="peak learning rate of AdamW, on a one-cycle schedule")
    seed: Seed = Field(0, description="seed of the initial weights, the order and the jitter")

    classes: ClassVar[int | None] = 10


class PretrainedJudge(JudgeSettings):
    """A judge with weights from elsewhere: those of the network's package, or of a file."""

    weights: File | None = Field(None, description="weights file; null: those of the network's own package")

    classes: ClassVar[int | None] = None


class ImageNetJudge(PretrainedJudge):
    """A judge of ImageNet's classes."""

    classes: ClassVar[int | None] = 1000
