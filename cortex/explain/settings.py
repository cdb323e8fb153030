"""Settings of the explanations (METHOD.md, sections 4 and 5)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cortex.core.settings import ClassPairs, Count, Counts, Rate, Section, WrongValueError, distinct
from cortex.explain import ATTRIBUTIONS, TIS

Reduction = Literal["max", "mean"]


Method = Annotated[str, AfterValidator(ATTRIBUTIONS.check_function)]
Methods = Annotated[list[Method], Field(min_length=1), AfterValidator(distinct)]


class Importance(Section):
    """How importance is computed: by SmoothGrad of the label's logit, reduced over channels, or by another method."""

    samples: Count = Field(20, description="noisy copies of an image")
    noise: Annotated[float, Field(ge=0)] = Field(
        0.2, description="standard deviation of the noise, in units of max − min of the image's embedding"
    )
    reduction: Reduction = Field(
        "max", description="reduction of the gradient over the channels of a position; max is published"
    )
    steps: Count = Field(50, description="steps of the integral of integrated gradients")
    batch: Count = Field(25, description="images of one backward pass")


class Explainers(Importance):
    """Importance of tokens by one or several methods, each with concept tokens and evaluations of its own.

    Every training of an extractor explains, and so does the average of its trainings.
    """

    method: Methods = Field(
        [TIS],
        description="attributions: registered names, or module:function; tis is published. Studies and figures explain "
        "by the first",
    )
    average: bool = Field(
        True, description="average the scores over the trainings of an extractor, too, and explain and evaluate by them"
    )

    def scores(self) -> Importance:
        """The settings of the scores alone."""
        return Importance(**{name: getattr(self, name) for name in Importance.model_fields})


class ConceptTokens(Section):
    """Concept-level tokens of a class: codes that are important in its images, as lists of two kinds."""

    top_n: Counts = Field([1, 5, 10, 20], description="positions of an image that count as important; lists for each")
    tokens: Count = Field(
        100, description="tokens of a list; more are kept where evaluation.concept_level.areas needs them"
    )


class Region(Section):
    """A rectangle of the grid; rows and columns count from 0."""

    top: Annotated[int, Field(ge=0)] = Field(7, description="first row of the region")
    left: Annotated[int, Field(ge=0)] = Field(7, description="first column of the region")
    height: Count = Field(4, description="rows of the region")
    width: Count = Field(4, description="columns of the region")

    @property
    def window(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Its rows and its columns, each from the first one to the one after the last."""
        return (self.top, self.top + self.height), (self.left, self.left + self.width)

    def positions(self, grid_width: int) -> list[int]:
        """Its positions in the flattened, row-major grid."""
        rows, columns = range(self.top, self.top + self.height), range(self.left, self.left + self.width)
        return [row * grid_width + column for row in rows for column in columns]


class SearchOptimisation(Section):
    """The optimisation of a codebook search."""

    steps: Count = Field(5000, description="optimisation steps")
    record_every: Count = Field(500, description="steps between two records of the tokens found")
    learning_rate: Rate = Field(0.01, description="learning rate of Adam")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="temperature of the Gumbel-softmax")

    @model_validator(mode="after")
    def _records_something(self) -> "SearchOptimisation":
        if self.record_every > self.steps:
            raise WrongValueError("record_every", self.record_every, f"should be at most steps = {self.steps}")
        return self


class CodebookSearch(SearchOptimisation):
    """Codebook search: tokens of a region that change the class that an extractor predicts."""

    region: Region = Field(Region(), description="region whose tokens are searched for")
    pairs: ClassPairs = Field(
        {source: 30 - source for source in range(10, 21) if source != 15},
        description="class of the image → target class of the region",
    )
    images_per_class: Count = Field(50, description="images of every source class, the first of the test split")
    batch: Count = Field(8, description="images searched at once")

    @model_validator(mode="after")
    def _other_classes(self) -> "CodebookSearch":
        for source, target in self.pairs.items():
            if source == target:
                raise WrongValueError(f"pairs.{source}", target, "should be another class")
        return self

    def optimisation(self) -> SearchOptimisation:
        """The options of the optimisation alone."""
        return SearchOptimisation(**{name: getattr(self, name) for name in SearchOptimisation.model_fields})
