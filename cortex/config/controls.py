"""Settings of what the paper does not have: controls, the planted benchmark, bias. What is not set is not run."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from cortex.config.method import CnnSettings, Extractors, PerClass
from cortex.config.values import Class, Count, Counts, Section, Share, Weight, WrongValueError, distinct
from cortex.explain import Attribution
from cortex.studies.planted import Variant
from cortex.studies.planted.limits import most_codes


class PairExtractor(CnnSettings):
    """The CE that tells two groups apart: fewer epochs."""

    epochs: Count = 10
    step_epochs: Count = 5
    gpus: Literal[1] = 1


class Attributions(Section):
    """Other attributions than the importance, judged as it is: on ``images_per_class`` test images."""

    methods: Annotated[list[Attribution], Field(min_length=1), AfterValidator(distinct)] = list(get_args(Attribution))
    images_per_class: Count = 20
    steps: Count = 50  # of the integral of integrated gradients


class SearchControl(Section):
    """Codebook searches that stay likely under the generator's prior, and how far all searches carry over.

    ``prior_weights`` are those of the log-likelihood (nats) beside the target's logit, a search for each; none where
    the generator is a VQGAN alone.
    """

    prior_weights: Annotated[list[Weight], AfterValidator(distinct)] = [1.0]
    refresh_every: Count = 10


class Sanity(Section):
    """Scores of the extractors with randomised weights, and of ``shuffled`` ones trained again on shuffled labels."""

    images_per_class: Count = 10
    top_n: Count = 5
    shuffled: Annotated[list[Literal["cnn", "cnn_deep", "resnet", "transformer"]], AfterValidator(distinct)] = []


class Stability(Section):
    """Scores of independent noise at the same number of samples, and beside those of ``reference`` samples."""

    images_per_class: Count = 10
    samples: Counts = [1, 5, 10, 20, 50]
    reference: Count = 200
    top_n: Counts = [5, 10, 20]

    @model_validator(mode="after")
    def _reference_is_most(self) -> "Stability":
        if self.reference <= max(self.samples):
            raise WrongValueError("reference", self.reference, f"should be more than samples = {max(self.samples)}")
        return self


class Combinations(Section):
    """Removing ``n`` positions at once; ``pairs`` of random orders (one and its reverse) estimate Shapley values."""

    images_per_class: Count = 3
    pairs: Annotated[int, Field(ge=2)] = 10
    n: Counts = [2, 5, 10]


class Controls(Section):
    """Can the explanations be trusted? The paper has no controls: what is not set is not run."""

    attributions: Attributions | None = None
    search: SearchControl | None = None
    sanity: Sanity | None = None
    stability: Stability | None = None
    combinations: Combinations | None = None


class Planted(Section):
    """The planted benchmark, on grids of the generator's shape; explained as the run's own images are."""

    variants: Annotated[list[Variant], Field(min_length=1), AfterValidator(distinct)] = list(get_args(Variant))
    classes: Annotated[int, Field(ge=2, multiple_of=2)] = 4
    codes: Annotated[int, Field(ge=1, le=1 << 16)] = 128
    codes_per_class: Annotated[int, Field(ge=2)] = 4
    positions: Annotated[int, Field(ge=2)] = 8
    per_class: PerClass = PerClass(train=400, validation=60, test=60)
    attributions: Attributions = Attributions()
    searched_per_class: Count = 3
    extractors: Extractors

    @model_validator(mode="after")
    def _consistent(self) -> "Planted":
        if self.codes_per_class > (most := most_codes(self.codes, self.classes)):
            raise WrongValueError(
                "codes_per_class",
                self.codes_per_class,
                f"should be at most {most}, so that half of codes = {self.codes} is left to the background",
            )
        if self.positions < self.codes_per_class:
            raise WrongValueError(
                "positions", self.positions, f"should be at least codes_per_class = {self.codes_per_class}"
            )
        if self.attributions.images_per_class > self.per_class.test:
            raise WrongValueError(
                "attributions.images_per_class",
                self.attributions.images_per_class,
                f"should be at most per_class.test = {self.per_class.test}",
            )
        if self.searched_per_class > self.per_class.test:
            raise WrongValueError(
                "searched_per_class",
                self.searched_per_class,
                f"should be at most per_class.test = {self.per_class.test}",
            )
        for name, settings in self.extractors.chosen().items():
            if settings.gpus > 1:
                raise WrongValueError(f"extractors.{name}.gpus", settings.gpus, "should be 1")
        return self


class Bias(Section):
    """Do images of ``neutral`` lean to one class of a pair? And do mixtures of the pair, whose lean is known?

    Args:
        mixtures: shares of the first class, in mixtures of the pair's test images.
        top_n: positions of an image that count as important; tokens: kept for a class.
    """

    pairs: Annotated[dict[Class, Class], Field(min_length=1)]
    neutral: Class | None = None
    mixtures: Annotated[list[Share], Field(min_length=1), AfterValidator(distinct)] = [0.5, 0.6, 0.7, 0.8, 0.9]
    top_n: Count = 5
    tokens: Count = 10
    extractor: PairExtractor = PairExtractor()

    @model_validator(mode="after")
    def _consistent(self) -> "Bias":
        for first, second in self.pairs.items():
            if first == second:
                raise WrongValueError(f"pairs.{first}", second, "should be another class")
        return self
