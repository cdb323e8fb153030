"""What the Snakefile asks of the package: names, fingerprints and locks of a run, as plain functions of its config."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cortex.config import Config, parse_config
from cortex.core.errors import InputError
from cortex.core.files import state_of, whole_file
from cortex.core.fingerprint import content_fingerprint
from cortex.core.messages import one_line
from cortex.core.provenance import VARIABLE, git_commit
from cortex.core.registry import ALLOWED, REFERENCE, Registry
from cortex.core.settings import Section
from cortex.core.text import read_yaml
from cortex.data.picture_sources import pictures_state
from cortex.data.settings import SPLITS, ImportedSplit, PicturePart, Split
from cortex.evaluate.levels import LEVELS
from cortex.extractors import EXTRACTORS
from cortex.extractors.config import RunExtractor
from cortex.extractors.settings import ExtractorSettings
from cortex.generators import GENERATORS
from cortex.generators.load import load_family
from cortex.generators.settings import GeneratorSettings
from cortex.generators.spec import GeneratorSpec, is_name
from cortex.judges import JUDGES
from cortex.judges.settings import BundledJudge, JudgeSettings, PretrainedJudge, TrainedJudge

SETTINGS = "settings.json"


def allow_references(config: Config) -> None:
    """Let jobs import what the config itself names as ``module:Attribute``, where a weights file states it, too.

    Studies are among it for the sake of their commands.
    """
    named = [extractor.network for extractor in config.extractors.values()]
    named += [judge.network for judge in config.judges.values()]
    of_studies = [value for study in config.studies.values() for _, value in study]
    parts = [part for value in of_studies for part in (value.values() if isinstance(value, Mapping) else [value])]
    named += [part.network for part in parts if isinstance(part, ExtractorSettings)]
    named += [study.study for study in config.studies.values() if study.study is not None]
    named.append(config.generator.family)
    os.environ[ALLOWED] = " ".join(sorted({name for name in named if REFERENCE.fullmatch(name)}))


def import_from_here() -> None:
    """Let this process import modules of the working directory, which a config may name, as ``python -m`` does."""
    sys.path.insert(0, os.getcwd())


def read_config(path: Path) -> tuple[Config, GeneratorSpec]:
    """The validated config of a file, and the shapes of its generator. What it names may lie in the working directory.

    Raises:
        InputError: the file cannot be read, or is no config.
    """
    import_from_here()
    return parse_config(read_yaml(path))


def allow_config(path: str) -> None:
    """Let this process import what a config file names as ``module:Attribute``, from the working directory, too.

    Raises:
        InputError: the file cannot be read, or is no config.
    """
    import_from_here()
    try:
        allow_references(Config.model_validate(read_yaml(Path(path))))
    except ValidationError as error:
        raise InputError(one_line(error, Config)) from None


def words(part: Section | Mapping[str, Any], without: Sequence[str] = ()) -> list[str]:
    """A section, or other options by name, as words of a command line.

    Sections inside a section flatten, and a mapping's keys and values alternate, as the commands read them. An option
    that is None is left out where it stands by itself, and is ``None`` in a section: its default may be another.
    """
    found: list[str] = []
    for name, value in dict(part).items():
        if name in without or (value is None and not isinstance(part, Section)):
            continue
        if isinstance(value, Section):
            found += words(value)
            continue
        values = [each for item in value.items() for each in item] if isinstance(value, Mapping) else value
        values = values if isinstance(values, list | tuple) else [values]
        found += [f"--{name.replace('_', '-')}", *map(str, values)]
    return found


def is_trained(settings: RunExtractor | JudgeSettings) -> bool:
    """Whether the run trains an extractor or a judge; others come with weights."""
    return isinstance(settings, ExtractorSettings | TrainedJudge)


def judge_files(judge: JudgeSettings) -> str:
    """The files that a judge is made of, in words: they may be too many to be inputs of a rule."""
    if isinstance(judge, TrainedJudge):
        sources = [judge.images] if judge.held_out is None else [judge.images, judge.held_out]
        names = [] if judge.class_names is None else [content_fingerprint(Path(judge.class_names))]
        return "; ".join([*map(pictures_state, sources), *names])
    files = [judge.file() if isinstance(judge, BundledJudge) and judge.weights is None else None]
    files += [Path(judge.class_names)] if isinstance(judge, PretrainedJudge) and judge.class_names else []
    return "; ".join(content_fingerprint(path) for path in files if path is not None)


def network_of(settings: RunExtractor | JudgeSettings) -> str:
    """The reference of an extractor's or a judge's network."""
    registry: Registry = JUDGES if isinstance(settings, JudgeSettings) else EXTRACTORS
    return registry.reference(settings.network)


def families_of(config: Config) -> list[str]:
    """The references of the generator's family, and of the one that gives it the classes of pictures."""
    family = GENERATORS.reference(config.generator.family)
    return [GENERATORS.reference("tokenizer"), family] if config.data.imports.pictures_alone() else [family]


def weights_of(generator: GeneratorSettings, run: str) -> str | None:
    """The generator's weights: the user's file, the one that the run makes, or a bundled name; None: the default."""
    return f"{run}/generator/weights.safetensors" if generator.converts() else generator.weights


def is_bundled(generator: GeneratorSettings) -> bool:
    """Whether the generator's weights come with its family."""
    named = generator.origin().weights
    return not generator.converts() and (named is None or is_name(named))


def origin_files(generator: GeneratorSettings) -> list[str]:
    """The files that a weights file is made of."""
    named = [generator.class_names] if generator.class_names else []
    return [str(path) for path in load_family(generator.family).files(generator.origin())] + named


def bundled_fingerprint(generator: GeneratorSettings) -> str:
    """Names and SHA-256 of the weights that come with the generator's family; empty where none come."""
    return "; ".join(content_fingerprint(path) for path in load_family(generator.family).files(generator.origin()))


def launcher(gpus: int) -> str:
    """The program that runs a training on so many GPUs."""
    return "python" if gpus == 1 else f"python -m torch.distributed.run --standalone --nproc-per-node {gpus}"


def stage_of(rules: str) -> str | None:
    """The stage of a run that a file of rules is for: its name, ``studies``, or none of the Snakefile's targets."""
    path = Path(rules)
    if path.name == "Snakefile":
        return None
    return path.stem if path.parent.name == "rules" else "studies"


def training_mb(
    settings: ExtractorSettings,
    *,
    device: str,
    channels: int,
    classes: int,
    grid: tuple[int, int],
    scales: tuple[int, ...],
) -> float:
    """MB of main memory that a process of an extractor's training holds beside its data: none if it is on a GPU."""
    if device.startswith("cuda"):
        return 0
    return _training_bytes(type(settings), settings.model_dump_json(), channels, classes, grid, scales) / 1e6


def judge_training_mb(settings: TrainedJudge, *, device: str, classes: int) -> float:
    """The same of a judge's training. How many classes its pictures have is not known before they are read."""
    if device.startswith("cuda"):
        return 0
    from cortex.judges.cost import training_memory

    return _known(lambda: training_memory(settings, classes)) / 1e6


@cache
def _training_bytes(kind: type[ExtractorSettings], settings: str, *shape: Any) -> float:
    from cortex.extractors.cost import training_memory  # imports torch, which a run without trainings to do need not

    return _known(lambda: training_memory(kind.model_validate_json(settings), *shape))


def _known(memory: Callable[[], float]) -> float:
    """A training's memory; 0 where its network, which may be anybody's, cannot run without numbers."""
    try:
        return memory()
    except Exception:
        return 0


def one_of(names: Iterable[str]) -> str:
    """A wildcard's constraint to some names, or to none."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


def levels(spec: GeneratorSpec, judges: list[str]) -> dict[str, dict[str, Any]]:
    """The judged levels of a run, with the options of the command that averages them."""
    chosen = [level for level in LEVELS if judges and (spec.decodes or level != "codebook_level")]
    return {level: {"by": list(LEVELS[level][0]), "measures": list(LEVELS[level][1])} for level in chosen}


def part_of(config: Config, split: Split) -> dict[str, Any]:
    """Options for the pictures that a split takes: those of one source for all splits are shuffled and divided."""
    counts = config.data.per_class
    part = PicturePart(split=split, per_class=getattr(counts, split))
    if config.data.imports.images is not None:
        before = sum(getattr(counts, other) for other in SPLITS[: SPLITS.index(split)])
        part = part.model_copy(update={"first": before, "seed": config.seed})
    return dict(part)


def embeddings_state(imported: ImportedSplit) -> str:
    """The .npy files of an import's embeddings, by names, sizes and times: too many to be inputs of a rule."""
    if imported.embeddings is None:
        return ""
    folder = Path(imported.embeddings)
    found = sorted((path.name, *state_of(path)) for path in folder.iterdir() if path.name.endswith(".npy"))
    return f"{len(found)} embeddings: {hashlib.sha256(repr(found).encode()).hexdigest()[:16]}"


def state_origin(config: Config, folder: str, *, main: bool) -> None:
    """State the origin of every output in the environment. It is no parameter of a rule: a commit reruns nothing.

    Args:
        config: the run's.
        folder: of the workflow.
        main: whether this is the Snakemake that the user started, not one in a cluster's job.

    Raises:
        InputError: a cluster's job finds another config than its run was started with.
    """
    if main or VARIABLE not in os.environ:
        stated = {
            "run": config.run,
            "seed": config.seed,
            "config_sha256": config.hash(),
            "git_commit": git_commit(folder),
        }
        os.environ[VARIABLE] = json.dumps(stated)
    # A cluster's jobs read the config file anew, hours later; their outputs are recorded under its settings.
    elif json.loads(os.environ[VARIABLE])["config_sha256"] != config.hash():
        raise InputError(
            "The config was changed while its run was going on: put it back, or let the run end; "
            "for another run at the same time, copy the file, and give the copy a run name of its own"
        )


def study_words(config: Config, names: Iterable[str]) -> list[str]:
    """Names of studies; ``NAME=module:STUDY`` of a study from outside."""
    references = {name: config.studies[name].study for name in names}
    return [f"{name}={reference}" if reference else name for name, reference in references.items()]


def write_settings(config: Config, folder: str) -> None:
    """Write the run's settings, defaults included, as ``settings.json`` in the run's folder."""
    with whole_file(Path(folder) / SETTINGS) as temporary:
        temporary.write_text(json.dumps(config.model_dump(mode="json"), indent=1, ensure_ascii=False), encoding="utf-8")
