"""Settings that are right by themselves, but fit neither the generator nor each other."""

import os
from collections.abc import Iterator

from cortex.config.messages import shown
from cortex.config.method import PretrainedJudge
from cortex.config.schema import Config
from cortex.generators.spec import GeneratorSpec
from cortex.studies.planted.limits import needed_positions


def cross_checks(config: Config, facts: GeneratorSpec) -> Iterator[str]:
    """Settings that are right by themselves but do not fit the generator or each other."""
    yield from _missing_imports(config)
    last = len(facts.class_names) - 1
    for label in config.data.classes or ():
        if label > last:
            yield f"data.classes = {label}: the generator has classes 0 to {last}"
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


def _unknown_classes(config: Config, facts: GeneratorSpec) -> Iterator[str]:
    """Classes that the run or a judge does not know, and judges that are not there."""
    classes = config.classes(facts)
    for source, target in config.codebook_search.pairs.items():
        for label in (source, target):
            if label not in classes:
                key = f"codebook_search.pairs.{source}"
                yield f"{key} = {target}: class {label} is not among the run's {shown(classes)}"
    for name, judge in config.judges.items():
        weights = getattr(judge, "weights", None)
        if weights is not None and not os.path.isfile(weights):
            yield f"judges.{name}.weights = {shown(weights)}: no such file"
        if isinstance(judge, PretrainedJudge) and len(facts.class_names) != judge.classes:
            known = (
                f"it knows ImageNet's {judge.classes} classes, and the generator has {len(facts.class_names)} others"
            )
            yield f"judges.{name}.network = {judge.network!r}: {known}"
        elif classes[-1] >= judge.classes:
            known = f"it knows the classes 0 to {judge.classes - 1}, and the run has class {classes[-1]}"
            yield f"judges.{name}.network = {judge.network!r}: {known}"


def _bias_misfits(config: Config, facts: GeneratorSpec) -> Iterator[str]:
    if (bias := config.bias) is None:
        return
    classes = config.classes(facts)
    named = [(f"pairs.{first}", second, label) for first, second in bias.pairs.items() for label in (first, second)]
    named += [("neutral", bias.neutral, bias.neutral)] if bias.neutral is not None else []
    for key, value, label in named:
        if label not in classes:
            yield f"bias.{key} = {value}: class {label} is not among the run's {shown(classes)}"
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
                yield f"data.imports.{split}.{key} = {shown(path)}: no such {kind}"
