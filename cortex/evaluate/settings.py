"""Settings of the evaluation by judges (METHOD.md, section 6)."""

from typing import Annotated

from pydantic import AfterValidator, Field

from cortex.core.settings import Count, Counts, Rate, Section, distinct


class Accuracy(Section):
    """Accuracy of extractors and judges."""

    k: Counts = Field([1, 3, 5, 10], description="a label counts as recognised among the k highest logits")


class ImageLevel(Section):
    """Image level: mask an image's most important tokens."""

    n: Counts = Field(list(range(5, 51, 5)), description="positions whose codes are masked; a result for each")


class ConceptLevel(Section):
    """Concept level: mask a class's tokens wherever they stand."""

    top_n: Counts = Field([20], description="lists of concept tokens to evaluate, among concept_tokens.top_n")
    areas: Annotated[list[Rate], AfterValidator(distinct)] = Field(
        [0.1, 0.2, 0.4],
        description="shares of a class's positions to mask by the first tokens of a list, beside the published number "
        "of tokens; [] for none",
    )


class Evaluation(Section):
    """The three levels of evaluation."""

    batch: Count = Field(100, description="images that a judge or an extractor sees at once")
    accuracy: Accuracy = Field(Accuracy(), description="accuracy of extractors and judges")
    image_level: ImageLevel = Field(ImageLevel(), description="masking at the image level")
    concept_level: ConceptLevel = Field(ConceptLevel(), description="masking at the concept level")
