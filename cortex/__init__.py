"""CORTEX: the meaning of the discrete tokens of a vector-quantized image generator (Yang et al., ICML 2025).

The names below are the public interface; everything else is private. They are imported when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cortex import plot as plot
    from cortex.core.errors import InputError as InputError
    from cortex.core.settings import Count as Count
    from cortex.data.tokens import Tokens as Tokens
    from cortex.data.tokens import read_tokens as read_tokens
    from cortex.data.tokens import write_tokens as write_tokens
    from cortex.explain.api import concept_tokens as concept_tokens
    from cortex.explain.api import importance as importance
    from cortex.explain.api import search as search
    from cortex.explain.context import AttributionContext as AttributionContext
    from cortex.explain.settings import ConceptTokens as ConceptTokens
    from cortex.explain.settings import Importance as Importance
    from cortex.explain.settings import Region as Region
    from cortex.explain.settings import SearchOptimisation as SearchOptimisation
    from cortex.extractors.network import load_extractor as load_extractor
    from cortex.extractors.settings import ExtractorSettings as ExtractorSettings
    from cortex.extractors.settings import StepTraining as StepTraining
    from cortex.extractors.settings import WarmUpTraining as WarmUpTraining
    from cortex.generators.base import Generator as Generator
    from cortex.generators.load import load_generator as load_generator
    from cortex.generators.sampling import Sampling as Sampling
    from cortex.generators.spec import GeneratorSpec as GeneratorSpec
    from cortex.judges.judge import Judge as Judge
    from cortex.judges.judge import load_judge as load_judge
    from cortex.judges.settings import PretrainedJudge as PretrainedJudge
    from cortex.judges.settings import TrainedJudge as TrainedJudge
    from cortex.report.tables import Cell as Cell
    from cortex.report.tables import Table as Table
    from cortex.report.topic import Finding as Finding
    from cortex.report.topic import Topic as Topic
    from cortex.run import Run as Run
    from cortex.run import open_run as open_run
    from cortex.studies.base import Study as Study
    from cortex.studies.base import StudySettings as StudySettings
    from cortex.studies.inputs import StudyInputs as StudyInputs

# Public name → module that defines it.
_PUBLIC = {
    "AttributionContext": "cortex.explain.context",
    "Cell": "cortex.report.tables",
    "ConceptTokens": "cortex.explain.settings",
    "Count": "cortex.core.settings",
    "ExtractorSettings": "cortex.extractors.settings",
    "Finding": "cortex.report.topic",
    "Generator": "cortex.generators.base",
    "GeneratorSpec": "cortex.generators.spec",
    "Importance": "cortex.explain.settings",
    "InputError": "cortex.core.errors",
    "Judge": "cortex.judges.judge",
    "PretrainedJudge": "cortex.judges.settings",
    "Region": "cortex.explain.settings",
    "Run": "cortex.run",
    "Sampling": "cortex.generators.sampling",
    "SearchOptimisation": "cortex.explain.settings",
    "StepTraining": "cortex.extractors.settings",
    "Study": "cortex.studies.base",
    "StudyInputs": "cortex.studies.inputs",
    "StudySettings": "cortex.studies.base",
    "Table": "cortex.report.tables",
    "Tokens": "cortex.data.tokens",
    "Topic": "cortex.report.topic",
    "TrainedJudge": "cortex.judges.settings",
    "WarmUpTraining": "cortex.extractors.settings",
    "concept_tokens": "cortex.explain.api",
    "importance": "cortex.explain.api",
    "load_extractor": "cortex.extractors.network",
    "load_generator": "cortex.generators.load",
    "load_judge": "cortex.judges.judge",
    "open_run": "cortex.run",
    "plot": "cortex.plot",
    "read_tokens": "cortex.data.tokens",
    "search": "cortex.explain.api",
    "write_tokens": "cortex.data.tokens",
}
__all__ = sorted(_PUBLIC)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cortex' has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    return module if name == "plot" else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
