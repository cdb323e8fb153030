"""The config file: every setting of a run, its type, its range and its default.

The defaults are those of the paper (METHOD.md); ``config.yaml`` states what the digits run does instead.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cortex.errors import InputError
from cortex.generate.facts import GeneratorFacts, generator_facts

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class CanonicalBatch(Section):
    """Samples are drawn in batches of fixed composition: ``classes`` neighbouring classes × ``indices``."""

    classes: Count = 10
    indices: Count = 10


class Generator(Section):
    weights: str | None = None
    batch: CanonicalBatch = CanonicalBatch()
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_k: Count | None = 600
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 0.92


class PerClass(Section):
    train: Count = 1000
    validation: Count = 300
    test: Count = 50


class Data(Section):
    classes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2)] | None = None
    per_class: PerClass = PerClass()
    shard_size: Count = 10_000

    @model_validator(mode="after")
    def _distinct_classes(self) -> "Data":
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("data.classes: every class once")
        return self


class Training(Section):
    epochs: Count = 80
    batch: Annotated[int, Field(ge=2)] = 256
    learning_rate: Rate = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4


class StepTraining(Training):
    """Adam, the learning rate × ``step_factor`` every ``step_epochs`` epochs."""

    step_epochs: Count = 20
    step_factor: Rate = 0.1


class CnnSettings(StepTraining):
    width: Count = 512
    hidden: Count = 4096
    dropout: Fraction = 0.5


class CnnDeepSettings(CnnSettings):
    pass


class ResnetSettings(StepTraining):
    width: Annotated[int, Field(ge=16)] = 512
    hidden: Count = 2048
    dropout: Fraction = 0.4


class TransformerSettings(Training):
    """AdamW, linear warm-up over ``warm_up`` of all iterations, then cosine annealing."""

    width: Count = 512
    layers: Count = 12
    heads: Count = 8
    mlp: Count = 2048
    hidden: Count = 1024
    dropout: Fraction = 0.2
    warm_up: Fraction = 0.1

    @model_validator(mode="after")
    def _heads_divide(self) -> "TransformerSettings":
        if self.width % self.heads:
            raise ValueError(f"width = {self.width}: must be a multiple of heads = {self.heads}")
        return self


class Extractors(Section):
    cnn: CnnSettings | None = None
    cnn_deep: CnnDeepSettings | None = None
    resnet: ResnetSettings | None = None
    transformer: TransformerSettings | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> "Extractors":
        if not self.chosen():
            raise ValueError("none is configured; allowed: cnn, cnn_deep, resnet, transformer")
        return self

    def chosen(self) -> dict[str, Training]:
        """The configured extractors' settings by name."""
        return {name: settings for name, settings in self if settings is not None}


class Importance(Section):
    samples: Count = 20
    noise: Annotated[float, Field(ge=0)] = 0.2
    reduction: Literal["max", "mean"] = "max"
    batch: Count = 25


class ConceptTokens(Section):
    top_n: Annotated[list[Count], Field(min_length=1)] = [1, 5, 10, 20]
    tokens: Count = 100


class Region(Section):
    """Rows ``top`` and columns ``left`` onwards of the grid, counted from 0."""

    top: Annotated[int, Field(ge=0)] = 7
    left: Annotated[int, Field(ge=0)] = 7
    height: Count = 4
    width: Count = 4


class CodebookSearch(Section):
    region: Region = Region()
    pairs: dict[int, int] = {source: 30 - source for source in range(10, 21) if source != 15}
    images_per_class: Count = 50
    steps: Count = 5000
    record_every: Count = 500
    learning_rate: Rate = 0.01
    temperature: Annotated[float, Field(gt=0)] = 1.0
    batch: Count = 8

    @model_validator(mode="after")
    def _consistent(self) -> "CodebookSearch":
        if self.record_every > self.steps:
            raise ValueError(f"record_every = {self.record_every}: at most steps = {self.steps}")
        if not self.pairs:
            raise ValueError("pairs: at least one 'source: target' pair of classes")
        for source, target in self.pairs.items():
            if source == target or min(source, target) < 0:
                raise ValueError(f"pairs.{source} = {target}: two different class indices from 0 on")
        return self


class Judge(Section):
    """A judge trained on the real digits."""

    network: Literal["vit", "resnet"]
    epochs: Count
    batch: Annotated[int, Field(ge=2)] = 64
    learning_rate: Rate = 1e-3


class ExtractorAccuracy(Section):
    k: Annotated[list[Count], Field(min_length=1)] = [1, 3, 5, 10]


class ImageLevel(Section):
    n: Annotated[list[Count], Field(min_length=1)] = list(range(5, 51, 5))


class ConceptLevel(Section):
    top_n: Annotated[list[Count], Field(min_length=1)] = [20]


class Evaluation(Section):
    batch: Count = 100
    extractor_accuracy: ExtractorAccuracy = ExtractorAccuracy()
    image_level: ImageLevel = ImageLevel()
    concept_level: ConceptLevel = ConceptLevel()


class GeneratorTraining(Section):
    """The recipe of the embedded digits generator (``snakemake train_generator``)."""

    seed: Annotated[int, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=2)] = 64
    vqgan_epochs: Count = 20
    vqgan_learning_rate: Rate = 1e-3
    rate_weight: Annotated[float, Field(ge=0)] = 0.01
    transformer_epochs: Count = 40
    transformer_learning_rate: Rate = 1e-3
    dropout: Fraction = 0.1


class Config(Section):
    run: Name
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    generator: Generator = Generator()
    data: Data = Data()
    extractors: Extractors
    importance: Importance = Importance()
    concept_tokens: ConceptTokens = ConceptTokens()
    codebook_search: CodebookSearch = CodebookSearch()
    judges: Annotated[dict[Name, Judge], Field(min_length=1)]
    evaluation: Evaluation = Evaluation()
    generator_training: GeneratorTraining = GeneratorTraining()

    def classes(self, facts: GeneratorFacts) -> list[int]:
        """The class indices that the run is about, ascending; all of the generator's unless configured."""
        return sorted(self.data.classes) if self.data.classes is not None else list(range(len(facts.class_names)))

    def hash(self) -> str:
        """SHA-256 of all settings, defaults included, independent of their order in the file."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def parse_config(settings: dict[str, Any]) -> tuple[Config, GeneratorFacts]:
    """The validated config of the nested mapping that a YAML file holds, and the facts of its generator.

    Raises:
        InputError: one line naming the first wrong key, its value and what is allowed.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        raise InputError(_one_line(error)) from None
    facts = generator_facts(Path(config.generator.weights) if config.generator.weights else None)
    for problem in _misfits(config, facts):
        raise InputError(f"config: {problem}")
    return config, facts


def _misfits(config: Config, facts: GeneratorFacts) -> Iterator[str]:
    """Settings that are right by themselves but do not fit the generator or each other."""
    height, width = facts.grid
    positions = height * width
    last = len(facts.class_names) - 1
    for label in config.data.classes or ():
        if label > last:
            yield f"data.classes = {label}: the generator has classes 0 to {last}"
    classes = config.classes(facts)
    region = config.codebook_search.region
    if region.top + region.height > height or region.left + region.width > width:
        yield (
            f"codebook_search.region = rows {region.top} to {region.top + region.height - 1}, columns {region.left} "
            f"to {region.left + region.width - 1}: the grid has rows 0 to {height - 1}, columns 0 to {width - 1}"
        )
    for source, target in config.codebook_search.pairs.items():
        for label in (source, target):
            if label not in classes:
                yield f"codebook_search.pairs = {source}: {target}: class {label} is not among the run's {classes}"
    if config.codebook_search.images_per_class > config.data.per_class.test:
        yield (
            f"codebook_search.images_per_class = {config.codebook_search.images_per_class}: "
            f"at most data.per_class.test = {config.data.per_class.test}"
        )
    for key, counts, most, of in (
        ("concept_tokens.top_n", config.concept_tokens.top_n, positions, "positions of the grid"),
        ("concept_tokens.tokens", [config.concept_tokens.tokens], facts.codes, "codes of the codebook"),
        ("evaluation.image_level.n", config.evaluation.image_level.n, positions, "positions of the grid"),
        ("evaluation.extractor_accuracy.k", config.evaluation.extractor_accuracy.k, len(classes), "classes"),
    ):
        for count in counts:
            if count > most:
                yield f"{key} = {count}: at most {most}, the {of}"
    for top_n in config.evaluation.concept_level.top_n:
        if top_n not in config.concept_tokens.top_n:
            yield f"evaluation.concept_level.top_n = {top_n}: allowed: those of concept_tokens.top_n"


def _one_line(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    # pydantic adds "[key]" for the key of a mapping; the value itself says as much.
    location = [str(part) for part in first["loc"] if part != "[key]"]
    key = ".".join(location)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_fields_at(location[:-1]))
        return f"config: {key}: unknown key; allowed here: {allowed}{more}"
    if first["type"] == "missing":
        return f"config: {key}: missing; it must be set{more}"
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    value = repr(first["input"])
    shown = value if len(value) <= 80 else value[:77] + "..."
    return f"config: {key or 'the file'} = {shown}: {reason}{more}"


def _fields_at(location: list[str]) -> list[str]:
    """The keys allowed in the section at ``location``, walking down from the whole config."""
    section: Any = Config
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[part].annotation
        else:
            section = get_args(section)[-1]  # the values of a mapping
        section = next((s for s in get_args(section) if isinstance(s, type) and issubclass(s, BaseModel)), section)
    return list(section.model_fields)
