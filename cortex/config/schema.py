"""The config file as a whole: sections from beside the stages, parts from the registries."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializeAsAny, WrapValidator

from cortex.atlas.settings import Atlas
from cortex.core.errors import InputError
from cortex.core.messages import PartError, chosen_by, dotted, kind_of
from cortex.core.registry import REFERENCE
from cortex.core.settings import Name, Section, Seed
from cortex.data.settings import Data
from cortex.dictionary.settings import Dictionary
from cortex.evaluate.settings import Evaluation
from cortex.explain.settings import CodebookSearch, ConceptTokens, Explainers
from cortex.extractors.config import RunExtractorMap, trainings_of
from cortex.extractors.names import AVERAGE, join_name
from cortex.generators.class_names import find_class
from cortex.generators.settings import GeneratorSettings
from cortex.generators.spec import GeneratorSpec
from cortex.judges import judge_settings
from cortex.judges.settings import JudgeSettings
from cortex.recipes.settings import GeneratorRecipe
from cortex.studies import STUDIES, load_study, study_settings
from cortex.studies.base import Study, StudySettings


def _null_is_empty(value: Any, validate: Any) -> Any:
    return {} if value is None else validate(value)


def _judge(name: str, part: Mapping[str, Any]) -> type[Section]:
    return kind_of(part, "network", judge_settings, "judges: {{{0}: {{network: {0}, ...}}}}".format(dotted([name])))


def _study(name: str, part: Mapping[str, Any]) -> type[Section]:
    reference = part.get("study")
    if reference is None and name not in STUDIES.names():
        known = ", ".join(STUDIES.names())
        raise PartError([], f": no study of this name; allowed: {known}, or study: module:STUDY of one of your own")
    if reference is not None and not (isinstance(reference, str) and REFERENCE.fullmatch(reference)):
        raise PartError(["study"], f" = {reference!r}: should be module:STUDY")
    return study_settings(reference or name)


Judges = Annotated[dict[Name, SerializeAsAny[JudgeSettings]], chosen_by(_judge)]
Studies = Annotated[dict[Name, SerializeAsAny[StudySettings]], chosen_by(_study)]


class Config(Section):
    """Every setting of a run."""

    moved: ClassVar[dict[str, str]] = {
        "controls": "write studies: {attributions: {...}, transfer: {...} (was search), sanity: {...}, ...}; ",
        "planted": "write studies: {planted: {...}}; ",
        "bias": "write studies: {bias: {...}}; ",
    }

    run: Name = Field(description="name of the run; its files are in results/<run>/")
    seed: Seed = Field(0, description="seed of all random numbers")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one"
    )
    generator: GeneratorSettings = Field(GeneratorSettings(), description="generator and sampling")
    data: Data = Field(Data(), description="data set: classes, numbers of images, shards, imports")
    extractors: Annotated[RunExtractorMap, WrapValidator(_null_is_empty)] = Field(
        description="information extractors by name; null: none"
    )
    importance: Explainers = Field(Explainers(), description="importance of tokens, by one or several methods")
    concept_tokens: ConceptTokens = Field(ConceptTokens(), description="concept-level tokens")
    codebook_search: CodebookSearch = Field(CodebookSearch(), description="codebook search")
    judges: Annotated[Judges, WrapValidator(_null_is_empty)] = Field(
        description="judges by name; null or {}: none, and no judged levels"
    )
    evaluation: Evaluation = Field(Evaluation(), description="three levels of evaluation")
    dictionary: Dictionary = Field(Dictionary(), description="dictionary of the codebook: a look-up of every code")
    atlas: Atlas = Field(Atlas(), description="atlas: pages in which tokens, classes and images are looked up")
    studies: Annotated[Studies, WrapValidator(_null_is_empty)] = Field(
        {}, description="studies beside the method, by name; the target full computes them"
    )
    generator_training: GeneratorRecipe = Field(
        GeneratorRecipe(), description="recipe of a generator of labelled pictures: snakemake train_generator"
    )

    def classes(self, spec: GeneratorSpec) -> list[int]:
        """The class indices that the run is about, ascending; all of the generator's unless configured.

        Raises:
            InputError: a class that is configured is none of the generator's, or stands there twice.
        """
        every = range(len(spec.class_names))
        if self.data.classes is None:
            return list(every)
        found = []
        for each in self.data.classes:
            if isinstance(each, int) and each not in every:
                raise InputError(f"data.classes = {each}: the generator has classes 0 to {len(every) - 1}")
            if isinstance(each, int):
                index = each
            elif spec.class_names.count(each) == 1:
                index = spec.class_names.index(each)
            else:
                index = find_class(each, spec.class_names, every, "data.classes = ")
            if index in found:
                raise InputError(f"data.classes = {each!r}: class {index}, which stands there, too")
            found.append(index)
        return sorted(found)

    def extractor_trainings(self) -> list[str]:
        """Every training of every extractor, as ``name/training``."""
        return trainings_of(self.extractors)

    def averaged_extractors(self) -> list[str]:
        """Every extractor with several trainings whose scores are averaged, as ``name/average``."""
        several = [name for name, part in self.extractors.items() if part.seeds > 1]
        return [join_name(name, AVERAGE) for name in several if self.importance.average]

    def chosen_studies(self) -> dict[str, Study]:
        """The studies of the run by name, in the order of the page."""
        found = {name: load_study(settings.study or name) for name, settings in self.studies.items()}
        return dict(sorted(found.items(), key=lambda item: item[1].order))

    def hash(self) -> str:
        """SHA-256 of all settings, defaults included, independent of their order in the file."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
