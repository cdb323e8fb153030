"""The definition of a study: a question beside the paper's method, in one place.

A study is a folder (or a module of another package) that defines ``STUDY``: its settings, how they fit a run, its
computation, its cost and its section of the page. Parts are lazy references ``module:attribute``, so that a config is
read without importing the computation. Config, rules, plan, command line and report iterate over studies; none of
them names one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from cortex.core.settings import Section
from cortex.generators.spec import GeneratorSpec


class StudySettings(Section):
    """Settings of every study."""

    study: str | None = Field(None, description="module:STUDY of a study of another package; null: a registered study")


@dataclass(frozen=True)
class Study:
    """One study.

    Args:
        settings: class of its settings.
        rows: ``module:function`` of the computation for one trained extractor, ``rows(inputs, settings, *, seed,
            device)``: an Arrow table with the columns key, those of ``by``, and value, a row an image and measure.
            See :class:`cortex.studies.inputs.StudyInputs`. Empty where the study has rules of its own instead.
        by: columns that tell the measures of ``rows`` apart; the metrics are means over images of each measure.
        needs: which parts of a run it reads: "extractors", "judges", "decoder"; or "one scale" or "scales"
            of tokens. It is refused without them.
        checks: problems of the settings in a run, ``checks(settings, config, spec)``, each one line that begins with
            the key within the study's section.
        extra: further inputs of ``rows`` for an extractor ("cnn/0"): name → path within the run's folder.
        selecting: settings that choose ``extra`` and nothing else. ``rows`` finds their defaults: an extractor whose
            inputs stay the same is not computed again.
        rules: Snakemake file of the study's own rules. It makes ``metrics/<study>.parquet``, unless ``rows`` does, and
            appends further files to ``STUDY_FILES``.
        commands: commands of these rules: name → (``module:function``, description).
        cost: ``module:function(settings, counts)`` that yields the plan's stages.
        page: ``module:function(rows, **tables, **stated)`` that makes the page's section of the metrics' rows, and of
            those of ``tables``.
        tables: further tables that the section reads: the function's parameter → path in the run's folder.
        stated: settings of the run that the section states: the function's parameter → key, such as
            "importance.samples". It is None where the report was written without settings.
        figures: names of the section's figures in a run, ``figures(settings)``. The study's rules draw each to
            ``figures/<name>.png``; its caption is ``<name>.rst`` beside the page's module.
        order: place on the page.
    """

    settings: type[StudySettings]
    rows: str = ""
    by: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset({"extractors"})
    checks: Callable[[Any, Any, GeneratorSpec], Iterator[str]] = lambda settings, config, spec: iter(())
    extra: Callable[[Any, str], Mapping[str, str]] = lambda settings, extractor: {}
    selecting: tuple[str, ...] = ()
    rules: Path | None = None
    commands: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    cost: str = ""
    page: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    stated: Mapping[str, str] = field(default_factory=dict)
    figures: Callable[[Any], Sequence[str]] = lambda settings: ()
    order: int = 100
