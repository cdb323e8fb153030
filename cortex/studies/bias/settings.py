"""Settings of the study of bias."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cortex.core.settings import Class, Count, Section, Share, WrongValueError, distinct
from cortex.extractors.settings import CnnSettings
from cortex.studies.base import StudySettings


class PairExtractor(CnnSettings):
    """The CE that separates two groups."""

    network: Literal["cnn"] = Field("cnn", description="network of the extractor")
    seeds: Literal[1] = Field(1, description="number of trainings")
    epochs: Count = Field(10, description="passes over the training data")
    step_epochs: Count = Field(5, description="epochs between two reductions of the learning rate")
    gpus: Literal[1] = Field(1, description="number of GPUs")


class GroupTokens(Section):
    """Tokens that stand for a group of images."""

    top_n: Count = Field(5, description="positions of an image that count as important")
    tokens: Count = Field(10, description="tokens to keep for a group")


class NeutralSets(Section):
    """Pairs of groups, and sets of images that may lean to one of a pair."""

    pairs: Annotated[dict[Class, Class], Field(min_length=1)] = Field(
        description="class of the first group → class of the second"
    )
    neutral: Class | None = Field(None, description="class of the neutral images; null: mixtures alone")
    mixtures: Annotated[list[Share], Field(min_length=1), AfterValidator(distinct)] = Field(
        [0.5, 0.6, 0.7, 0.8, 0.9], description="shares of the first group in mixtures of a pair's test images"
    )

    @model_validator(mode="after")
    def _other_classes(self) -> "NeutralSets":
        for first, second in self.pairs.items():
            if first == second:
                raise WrongValueError(f"pairs.{first}", second, "should be another class")
        return self


class Bias(NeutralSets, GroupTokens, StudySettings):
    """Lean of neutral images, and of mixtures of known shares, to one of two groups."""

    extractor: PairExtractor = Field(PairExtractor(), description="extractor that separates two groups")
