"""Extractors as a config names them: ``name: {network: …, …}``, for the run and for studies with their own.

Those of the run may have weights from elsewhere: ``name: {network: …, weights: […]}``.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny

from cortex.core.messages import chosen_by, dotted, kind_of
from cortex.core.settings import Name, Section
from cortex.extractors import extractor_settings
from cortex.extractors.names import join_name
from cortex.extractors.settings import ExtractorSettings, PretrainedExtractor


def _extractor(name: str, part: Mapping[str, Any]) -> type[Section]:
    return kind_of(
        part, "network", extractor_settings, "extractors: {{{0}: {{network: {0}, ...}}}}".format(dotted([name]))
    )


def _given_or_trained(name: str, part: Mapping[str, Any]) -> type[Section]:
    return PretrainedExtractor if "weights" in part else _extractor(name, part)


RunExtractor = ExtractorSettings | PretrainedExtractor
ExtractorMap = Annotated[dict[Name, SerializeAsAny[ExtractorSettings]], Field(min_length=1), chosen_by(_extractor)]
RunExtractorMap = Annotated[dict[Name, SerializeAsAny[RunExtractor]], Field(min_length=1), chosen_by(_given_or_trained)]


def trainings_of(extractors: Mapping[str, RunExtractor]) -> list[str]:
    """Every training of every extractor, as ``name/training``."""
    return [join_name(name, training) for name, part in extractors.items() for training in range(part.seeds)]
