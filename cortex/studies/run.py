"""The generic command of studies: compute one study for one trained extractor."""

import importlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from cortex.core.device import choose_device
from cortex.core.errors import InputError, quoted
from cortex.core.files import named_path
from cortex.core.tables import write_table
from cortex.data.tokens import read_tokens
from cortex.explain import TIS
from cortex.explain.settings import Importance
from cortex.extractors.codebook import load_codebook
from cortex.studies import load_study
from cortex.studies.base import StudySettings
from cortex.studies.inputs import StudyInputs, from_json


def run_study(
    output: Path,
    *,
    scores: list[Path],
    extractor: Path,
    codebook: Path,
    settings: StudySettings,
    images: tuple[Path, ...] = (),
    extra: tuple[str, ...] = (),
    importance: str = "{}",
    attribution: str = TIS,
    inference_batch: int = 100,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Compute a study for one trained extractor, and write its rows, one an image and measure.

    Args:
        output: Parquet to write: key, the study's columns, value.
        scores: importance files of the test split.
        extractor: weights of the extractor that computed them.
        codebook: the generator's codebook.
        settings: study, a registered name or module:STUDY, and its settings.
        images: decoded images of the test split, an .npy file for each of the importance files.
        extra: further inputs of the study, as name=path.
        importance: settings of the token importance, as JSON.
        attribution: method of the importance files.
        inference_batch: images that an extractor or a judge classifies at once.
        seed: seed of the study's random numbers.
        device: auto, cpu, cuda or cuda:N.
    """
    if settings.study is None:
        raise InputError("no study: a registered name, or module:STUDY, is needed")
    study = load_study(settings.study)
    inputs = StudyInputs(
        images=read_tokens(scores, ["importance"], codes=len(load_codebook(codebook, torch.device("cpu")))),
        extractor=extractor,
        codebook=codebook,
        importance=from_json(Importance, "importance", importance),
        decoded=images,
        batch=inference_batch,
        extra=dict(map(named_path, extra)),
        attribution=attribution,
    )
    rows: pa.Table = _function(settings.study, study.rows)(inputs, settings, seed=seed, device=choose_device(device))
    if missing := {"key", *study.by, "value"} - set(rows.column_names):
        raise InputError(f"study {settings.study}: its rows lack the columns {quoted(sorted(missing))}")
    write_table(output, rows)


def _function(study: str, reference: str) -> Any:
    """The function that a reference ``module:function`` of a study names."""
    module, _, name = reference.partition(":")
    if not name:
        raise InputError(f"study {study}: it has no rows of its own; its rules compute it")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"study {study}: {reference} cannot be imported: {error}") from None
