"""The config file: every setting of a run, its type, its range and its default.

The defaults are those of the paper (METHOD.md); ``config.yaml`` states what the digits run does instead.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator

from cortex.errors import InputError
from cortex.explain import Attribution
from cortex.generate.facts import GeneratorFacts, facts_of, stored_architecture
from cortex.generate.project import files_of, read_architecture
from cortex.planted import Variant
from cortex.planted.limits import most_codes, needed_positions


class WrongValueError(ValueError):
    """What a validator of several keys finds wrong with one of them; it names the key within its section."""

    def __init__(self, key: str, value: object, reason: str):
        super().__init__(f"{key} = {value}: {reason}")
        self.key, self.value, self.reason = key, value, reason


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError("should have every value once")
    return values


Count = Annotated[int, Field(ge=1)]
Counts = Annotated[list[Count], Field(min_length=1), AfterValidator(_distinct)]
Class = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
File = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class CanonicalBatch(Section):
    """Samples are drawn in batches of fixed composition: ``classes`` neighbouring classes × ``indices``."""

    classes: Count = 10
    indices: Count = 10


class Generator(Section):
    """``weights``, or a ``folder`` of taming-transformers to convert; of neither, the embedded digits generator.

    ``precision`` and ``step`` say how samples are computed: auto is float32 and plain on a CPU, bfloat16 and captured
    on a GPU.
    """

    weights: File | None = None
    folder: File | None = None
    class_names: File | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    step: Literal["auto", "plain", "captured", "compiled"] = "auto"
    batch: CanonicalBatch = CanonicalBatch()
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_k: Count | None = 600
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 0.92

    @model_validator(mode="after")
    def _one_origin(self) -> "Generator":
        if self.folder is not None and self.weights is not None:
            raise WrongValueError("folder", self.folder, f"should not be set beside weights = {self.weights!r}")
        if self.class_names is not None and self.folder is None:
            raise WrongValueError("class_names", self.class_names, "should be set beside folder only")
        return self

    def architecture(self) -> dict[str, Any]:
        """What the networks look like and what the classes are called, of the weights' metadata or the folder's YAML.

        Raises:
            InputError: neither says it.
        """
        if self.folder is None:
            return stored_architecture(Path(self.weights) if self.weights is not None else None)
        project, _ = files_of(Path(self.folder))
        return read_architecture(project, Path(self.class_names) if self.class_names is not None else None)


class PerClass(Section):
    train: Count = 1000
    validation: Count = 300
    test: Count = 50


class Images(Section):
    """How shards keep images: the judges look at the test split's, the report alone at the others'."""

    train: Literal["png", "jpeg", "webp", "none"] = "png"
    validation: Literal["png", "jpeg", "webp", "none"] = "png"
    test: Literal["png", "jpeg", "webp"] = "png"


class ImportedSplit(Section):
    """Labels and grids that others made: ``.csv``, ``.parquet``, or ``.npy`` with a ``.npy`` of labels."""

    source: Annotated[str, Field(pattern=r"\.(csv|parquet|npy)$")]
    labels: Annotated[str, Field(pattern=r"\.npy$")] | None = None
    embeddings: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ImportedSplit":
        if self.source.endswith(".npy") != (self.labels is not None):
            raise WrongValueError("labels", self.labels, "goes with a source that is .npy, and with no other")
        if self.embeddings is not None and not self.source.endswith(".csv"):
            raise WrongValueError(
                "embeddings", self.embeddings, "goes with a source that is .csv, and with nothing else"
            )
        return self


class Imports(Section):
    """The splits that are imported instead of drawn."""

    train: ImportedSplit | None = None
    validation: ImportedSplit | None = None
    test: ImportedSplit | None = None

    def chosen(self) -> dict[str, ImportedSplit]:
        """The imported splits by name."""
        return {split: imported for split, imported in self if imported is not None}


class Data(Section):
    classes: Annotated[list[Class], Field(min_length=2), AfterValidator(_distinct)] | None = None
    per_class: PerClass = PerClass()
    shard_size: Count = 10_000
    images: Images = Images()
    imports: Imports = Imports()
    image_quality: Annotated[int, Field(ge=1, le=100)] = 95


class Training(Section):
    epochs: Count = 80
    batch: Annotated[int, Field(ge=2)] = 256
    learning_rate: Rate = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    # null: as published, which on a GPU is float16 for the transformer; float32 for all else
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    compile: bool = False
    gpus: Count = 1  # processes that share every batch, each on a GPU of its own


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
            raise WrongValueError("width", self.width, f"should be a multiple of heads = {self.heads}")
        return self


class PairExtractor(CnnSettings):
    """The CE that tells two groups apart: fewer epochs."""

    epochs: Count = 10
    step_epochs: Count = 5
    gpus: Literal[1] = 1


class Extractors(Section):
    cnn: CnnSettings | None = None
    cnn_deep: CnnDeepSettings | None = None
    resnet: ResnetSettings | None = None
    transformer: TransformerSettings | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> "Extractors":
        if not self.chosen():
            raise ValueError(f"should configure at least one of {', '.join(Extractors.model_fields)}")
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
    top_n: Counts = [1, 5, 10, 20]
    tokens: Count = 100


class Region(Section):
    """Rows ``top`` and columns ``left`` onwards of the grid, counted from 0."""

    top: Annotated[int, Field(ge=0)] = 7
    left: Annotated[int, Field(ge=0)] = 7
    height: Count = 4
    width: Count = 4


class CodebookSearch(Section):
    region: Region = Region()
    pairs: Annotated[dict[Class, Class], Field(min_length=1)] = {
        source: 30 - source for source in range(10, 21) if source != 15
    }
    images_per_class: Count = 50
    steps: Count = 5000
    record_every: Count = 500
    learning_rate: Rate = 0.01
    temperature: Annotated[float, Field(gt=0)] = 1.0
    batch: Count = 8

    @model_validator(mode="after")
    def _consistent(self) -> "CodebookSearch":
        if self.record_every > self.steps:
            raise WrongValueError("record_every", self.record_every, f"should be at most steps = {self.steps}")
        for source, target in self.pairs.items():
            if source == target:
                raise WrongValueError(f"pairs.{source}", target, "should be another class")
        return self


class TrainedJudge(Section):
    """A judge trained on the real digits, which are the classes that it knows."""

    network: Literal["vit", "resnet"]
    epochs: Count
    batch: Annotated[int, Field(ge=2)] = 64
    learning_rate: Rate = 1e-3
    seed: Annotated[int, Field(ge=0)] = 0

    classes: ClassVar[int] = 10


class PretrainedJudge(Section):
    """A judge that knows ImageNet, with the weights of the package that it comes from, or of a file."""

    network: Literal["vit_b_16", "vit_b_32", "resnet18", "resnet50", "efficientnet_lite0"]
    weights: File | None = None

    classes: ClassVar[int] = 1000


Judge = Annotated[TrainedJudge | PretrainedJudge, Field(discriminator="network")]


class Accuracy(Section):
    k: Counts = [1, 3, 5, 10]


class ImageLevel(Section):
    n: Counts = list(range(5, 51, 5))


class ConceptLevel(Section):
    top_n: Counts = [20]


class Evaluation(Section):
    batch: Count = 100
    accuracy: Accuracy = Accuracy()
    image_level: ImageLevel = ImageLevel()
    concept_level: ConceptLevel = ConceptLevel()


class Attributions(Section):
    """Other attributions than the importance, judged as it is: on ``images_per_class`` test images."""

    methods: Annotated[list[Attribution], Field(min_length=1), AfterValidator(_distinct)] = list(get_args(Attribution))
    images_per_class: Count = 20
    steps: Count = 50  # of the integral of integrated gradients


class SearchControl(Section):
    """Codebook searches that stay likely under the generator's prior, and how far all searches carry over.

    ``prior_weights`` are those of the log-likelihood (nats) beside the target's logit, a search for each; none where
    the generator is a VQGAN alone.
    """

    prior_weights: Annotated[list[Weight], AfterValidator(_distinct)] = [1.0]
    refresh_every: Count = 10


class Sanity(Section):
    """Scores of the extractors with randomised weights, and of ``shuffled`` ones trained again on shuffled labels."""

    images_per_class: Count = 10
    top_n: Count = 5
    shuffled: Annotated[list[Literal["cnn", "cnn_deep", "resnet", "transformer"]], AfterValidator(_distinct)] = []


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

    variants: Annotated[list[Variant], Field(min_length=1), AfterValidator(_distinct)] = list(get_args(Variant))
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
    mixtures: Annotated[list[Share], Field(min_length=1), AfterValidator(_distinct)] = [0.5, 0.6, 0.7, 0.8, 0.9]
    top_n: Count = 5
    tokens: Count = 10
    extractor: PairExtractor = PairExtractor()

    @model_validator(mode="after")
    def _consistent(self) -> "Bias":
        for first, second in self.pairs.items():
            if first == second:
                raise WrongValueError(f"pairs.{first}", second, "should be another class")
        return self


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

    def classes(self, facts: GeneratorFacts) -> list[int]:
        """The class indices that the run is about, ascending; all of the generator's unless configured."""
        return sorted(self.data.classes) if self.data.classes is not None else list(range(len(facts.class_names)))

    def topics(self) -> list[str]:
        """What the run tells beyond the method's three levels: names of :data:`cortex.report.topics.TOPICS`."""
        asked_for = [*self.controls, ("planted", self.planted), ("bias", self.bias)]
        return [name for name, asked in asked_for if asked is not None]

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
    origin = "weights" if config.generator.folder is None else "folder"
    path = getattr(config.generator, origin)
    try:
        architecture = config.generator.architecture()
        facts = facts_of(architecture)
        drawn = PerClass.model_fields.keys() - config.data.imports.chosen().keys()
        if architecture["transformer"] is None and drawn:
            splits = ", ".join(sorted(drawn))
            raise InputError(f"a VQGAN without a transformer draws no images: data.imports lacks {splits}")
        if not facts.class_names:
            raise InputError("a VQGAN without a transformer has no classes: set generator.class_names, a file of names")
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"config: generator.{origin} = {path!r}: {reason}") from None
    search = config.controls.search
    if architecture["transformer"] is None and search is not None and search.prior_weights:
        key = f"controls.search.prior_weights = {search.prior_weights}"
        raise InputError(f"config: {key}: should be [], as a VQGAN without a transformer has no prior")
    for problem in _misfits(config, facts):
        raise InputError(f"config: {problem}")
    return config, facts


def _misfits(config: Config, facts: GeneratorFacts) -> Iterator[str]:
    """Settings that are right by themselves but do not fit the generator or each other."""
    yield from _missing_imports(config)
    yield from _bias_misfits(config, facts)
    if not config.extractors.chosen() or not config.judges:
        if config.extractors.chosen() or config.judges or config.topics() != ["bias"]:
            key = "extractors" if not config.extractors.chosen() else "judges"
            yield f"{key} = None: only where extractors and judges are both null, in a run of bias alone"
        return
    yield from _unknown_classes(config, facts)
    height, width = facts.grid
    positions = height * width
    yield from (
        f"extractors.{name}.gpus = {settings.gpus}: only with device = 'cuda'; it is {config.device!r}"
        for name, settings in config.extractors.chosen().items()
        if settings.gpus > 1 and config.device != "cuda"
    )
    region = config.codebook_search.region
    if region.top + region.height > height or region.left + region.width > width:
        yield (
            f"codebook_search.region = rows {region.top} to {region.top + region.height - 1}, columns {region.left} "
            f"to {region.left + region.width - 1}: the grid has rows 0 to {height - 1}, columns 0 to {width - 1}"
        )
    if config.codebook_search.images_per_class > config.data.per_class.test:
        yield (
            f"codebook_search.images_per_class = {config.codebook_search.images_per_class}: "
            f"at most data.per_class.test = {config.data.per_class.test}"
        )
    for key, counts, most, of in (
        ("concept_tokens.top_n", config.concept_tokens.top_n, positions, "positions of the grid"),
        ("concept_tokens.tokens", [config.concept_tokens.tokens], facts.codes, "codes of the codebook"),
        ("evaluation.image_level.n", config.evaluation.image_level.n, positions, "positions of the grid"),
        ("evaluation.accuracy.k", config.evaluation.accuracy.k, len(config.classes(facts)), "classes"),
    ):
        for count in counts:
            if count > most:
                yield f"{key} = {count}: at most {most}, the {of}"
    for top_n in config.evaluation.concept_level.top_n:
        if top_n not in config.concept_tokens.top_n:
            yield f"evaluation.concept_level.top_n = {top_n}: allowed: those of concept_tokens.top_n"
    yield from _control_misfits(config, positions)


def _control_misfits(config: Config, positions: int) -> Iterator[str]:
    """The same of the controls and of the planted benchmark."""
    controls = config.controls
    subsets = ("attributions", "sanity", "stability", "combinations")
    for key, subset in ((name, getattr(controls, name)) for name in subsets):
        if subset is not None and subset.images_per_class > config.data.per_class.test:
            yield (
                f"controls.{key}.images_per_class = {subset.images_per_class}: "
                f"at most data.per_class.test = {config.data.per_class.test}"
            )
    yield from _ranked_misfits(config, positions)
    search, steps = config.controls.search, config.codebook_search.steps
    if search is not None and search.refresh_every > steps:
        yield f"controls.search.refresh_every = {search.refresh_every}: at most codebook_search.steps = {steps}"
    if config.planted is not None:
        for variant in config.planted.variants:
            needed = needed_positions(variant, config.planted.classes, config.planted.positions)
            if needed > positions:
                yield (
                    f"planted.positions = {config.planted.positions}: with {config.planted.classes} classes, {variant} "
                    f"takes {needed} positions; the grid has {positions}"
                )


def _ranked_misfits(config: Config, positions: int) -> Iterator[str]:
    """Controls of more positions than the grid has, or of extractors that the run lacks."""
    sanity, stability, combinations = config.controls.sanity, config.controls.stability, config.controls.combinations
    for key, counts in (
        ("sanity.top_n", [sanity.top_n] if sanity is not None else []),
        ("stability.top_n", stability.top_n if stability is not None else []),
        ("combinations.n", combinations.n if combinations is not None else []),
    ):
        for count in counts:
            if count > positions:
                yield f"controls.{key} = {count}: at most {positions}, the positions of the grid"
    extractors = config.extractors.chosen()
    for name in sanity.shuffled if sanity is not None else ():
        if name not in extractors:
            yield f"controls.sanity.shuffled = {name!r}: allowed: the run's extractors, {', '.join(extractors)}"


def _unknown_classes(config: Config, facts: GeneratorFacts) -> Iterator[str]:
    """Classes that the generator, the run or a judge does not know."""
    last = len(facts.class_names) - 1
    for label in config.data.classes or ():
        if label > last:
            yield f"data.classes = {label}: the generator has classes 0 to {last}"
    classes = config.classes(facts)
    for source, target in config.codebook_search.pairs.items():
        for label in (source, target):
            if label not in classes:
                key = f"codebook_search.pairs.{source}"
                yield f"{key} = {target}: class {label} is not among the run's {_shown(classes)}"
    for name, judge in config.judges.items():
        if classes[-1] >= judge.classes:
            known = f"it knows the classes 0 to {judge.classes - 1}, and the run has class {classes[-1]}"
            yield f"judges.{name}.network = {judge.network!r}: {known}"


def _bias_misfits(config: Config, facts: GeneratorFacts) -> Iterator[str]:
    if (bias := config.bias) is None:
        return
    classes = config.classes(facts)
    named = [(f"pairs.{first}", second, label) for first, second in bias.pairs.items() for label in (first, second)]
    named += [("neutral", bias.neutral, bias.neutral)] if bias.neutral is not None else []
    for key, value, label in named:
        if label not in classes:
            yield f"bias.{key} = {value}: class {label} is not among the run's {_shown(classes)}"
        elif key.startswith("pairs") and label == bias.neutral:
            yield f"bias.{key} = {value}: class {label} is the neutral one"
    for key, count, most, of in (
        ("top_n", bias.top_n, facts.grid[0] * facts.grid[1], "positions of the grid"),
        ("tokens", bias.tokens, facts.codes, "codes of the codebook"),
    ):
        if count > most:
            yield f"bias.{key} = {count}: at most {most}, the {of}"
    for split in ("validation", "test"):
        if (images := getattr(config.data.per_class, split)) < 2:
            yield f"data.per_class.{split} = {images}: at least 2, for the intervals of bias"


def _missing_imports(config: Config) -> Iterator[str]:
    for split, imported in config.data.imports.chosen().items():
        for key, path in imported:
            kind, there = ("folder", os.path.isdir) if key == "embeddings" else ("file", os.path.isfile)
            if path is not None and not there(path):
                yield f"data.imports.{split}.{key} = {_shown(path)}: no such {kind}"


def _one_line(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    # pydantic adds "[key]" for the key of a mapping; the value itself says as much.
    location, section = _walk([part for part in first["loc"] if part != "[key]"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(section.model_fields)
        return f"config: {_dotted(location)}: unknown key; allowed here: {allowed}{more}"
    if first["type"] == "missing":
        return f"config: {_dotted(location)}: missing; it must be set{more}"
    value, reason = first["input"], first["msg"].removeprefix("Value error, ")
    wrong = first.get("ctx", {}).get("error")
    if first["type"] == "union_tag_not_found":
        return f"config: {_dotted([*location, 'network'])}: missing; it must be set{more}"
    if first["type"] == "union_tag_invalid":
        location, value = [*location, "network"], first["ctx"]["tag"]
        reason = f"should be one of {first['ctx']['expected_tags']}"
    elif isinstance(wrong, WrongValueError):
        location, value, reason = [*location, wrong.key], wrong.value, wrong.reason
    elif first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        reason = "should be a mapping of keys to values"
    elif first["type"] == "invalid_key":
        reason = f"keys are words; allowed here: {', '.join(section.model_fields)}"
    elif first["type"] in ("int_type", "float_type") and isinstance(value, str):
        # YAML reads 1e-3 as text, and Snakemake all that is nested in --config.
        reason += ", not text: in a config file and without quotes, as in 0.001 or 1.0e-3"
    reason = reason.removeprefix("Input ").removeprefix("String ").removeprefix("List ").removeprefix("Dictionary ")
    return f"config: {_dotted(location)} = {_shown(value)}: {reason}{more}"


def _dotted(location: Sequence[int | str]) -> str:
    """A key's place in the file, on one line whatever its names are."""
    names = (str(part) for part in location)
    return ".".join(name if name.isprintable() else repr(name) for name in names) or "the file"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integers of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _walk(location: Sequence[int | str]) -> tuple[list[int | str], type[Section]]:
    """The keys of the file on the way to ``location``, and the section that the last of them stands in.

    pydantic's locations also name the kind of a judge, which is no key.
    """
    keys: list[int | str] = []
    section: type[Section] = Config
    found: Any = Config  # a section, a mapping of names to sections, or several kinds of section
    for part in location:
        if get_origin(found) is Annotated:
            kinds = get_args(get_args(found)[0])
            found = next(kind for kind in kinds if part in get_args(kind.model_fields["network"].annotation))
            continue
        keys.append(part)
        if isinstance(found, GenericAlias):
            found = get_args(found)[-1]
        elif isinstance(found, type) and issubclass(found, Section):
            section, field = found, found.model_fields.get(str(part))
            found = field.annotation if field is not None else None
            if isinstance(found, UnionType):  # Section | None
                found = get_args(found)[0]
    return keys, section
