"""The config file as a whole."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, WrapValidator

from cortex.config.controls import Bias, Controls, Planted
from cortex.config.method import (
    CodebookSearch,
    ConceptTokens,
    Data,
    Evaluation,
    Extractors,
    Generator,
    GeneratorTraining,
    Importance,
    Judge,
)
from cortex.config.values import Name, Section
from cortex.generators.spec import GeneratorSpec


def _null_is(empty: Any) -> WrapValidator:
    """Accept null, as ``empty``."""
    return WrapValidator(lambda value, validate: empty if value is None else validate(value))


class Config(Section):
    run: Name
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    generator: Generator = Generator()
    data: Data = Data()
    # null, both of them, in a run of bias alone, which is about no extractor and judge of its own
    extractors: Annotated[Extractors, _null_is(Extractors.model_construct())]
    importance: Importance = Importance()
    concept_tokens: ConceptTokens = ConceptTokens()
    codebook_search: CodebookSearch = CodebookSearch()
    judges: Annotated[dict[Name, Judge], Field(min_length=1), _null_is({})]
    evaluation: Evaluation = Evaluation()
    controls: Controls = Controls()
    planted: Planted | None = None
    bias: Bias | None = None
    generator_training: GeneratorTraining = GeneratorTraining()

    def classes(self, facts: GeneratorSpec) -> list[int]:
        """The class indices that the run is about, ascending; all of the generator's unless configured."""
        return sorted(self.data.classes) if self.data.classes is not None else list(range(len(facts.class_names)))

    def topics(self) -> list[str]:
        """What the run tells beyond the method's three levels: names of :data:`cortex.report.topics.TOPICS`."""
        asked_for = [*self.controls, ("planted", self.planted), ("bias", self.bias)]
        return [name for name, asked in asked_for if asked is not None]

    def hash(self) -> str:
        """SHA-256 of all settings, defaults included, independent of their order in the file."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
