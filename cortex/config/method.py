"""Settings of the method: one section for each part of METHOD.md, with the paper's values as defaults."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from cortex.config.values import Class, Count, Counts, File, Fraction, Rate, Section, WrongValueError, distinct
from cortex.generators.spec import stored_architecture
from cortex.generators.taming.project import files_of, read_architecture


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
    classes: Annotated[list[Class], Field(min_length=2), AfterValidator(distinct)] | None = None
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
