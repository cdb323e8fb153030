"""The page: classes in pictures, five answers, and on a second level the numbers, in one HTML file."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq

from cortex.core.errors import InputError
from cortex.core.files import whole_file
from cortex.core.kept import kept_decisions
from cortex.core.provenance import provenance
from cortex.dictionary.kinds import SURE
from cortex.explain import TIS
from cortex.extractors.names import split_name
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import generator_spec
from cortex.generators.spec import GeneratorSpec
from cortex.report import TEMPLATES, words
from cortex.report.answers import QUESTIONS, Answer, Evidence, answers
from cortex.report.cards import FEW, Cards
from cortex.report.pictures import read_pictures
from cortex.report.real_pictures import real_pictures
from cortex.report.results import FEW_RIGHT, LEVELS, RunFiles, Source, read_rows
from cortex.report.rows import Rows, groups
from cortex.report.sections import level_section, models_section, overlap_section
from cortex.report.study_sections import added_to_answers, find_studies, study_pictures, study_section
from cortex.report.tables import full_table, mark_invalid
from cortex.studies.base import Study

ATLAS = "atlas/index.html"  # beside the page
ORIGINS: dict[Source, str] = {
    "drawn": "drawn by the generator",
    "imported": "imported",
    "pictures": "real pictures in tokens of the generator's encoder",
}


def write_report(
    output: Path,
    run: Path,
    *,
    extractors: tuple[str, ...],
    top_n: int,
    judges: tuple[str, ...] = (),
    levels: tuple[str, ...] = LEVELS,
    studies: tuple[str, ...] = (),
    study_figures: tuple[str, ...] = (),
    methods: tuple[str, ...] = (TIS,),
    tokens: int = 100,
    shard: Path | None = None,
    source: Source = "drawn",
    settings: tuple[str, ...] = (),
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    headlines: Path | None = None,
) -> None:
    """Write the report of a run: one HTML file that needs no other file and no network.

    The command reads tables, importance, images and figures from the run's folder.

    Args:
        output: HTML file to write.
        run: folder of the run, such as results/landuse.
        extractors: trained extractors, such as cnn/0.
        top_n: list of concept tokens to show: one of the run's concept_tokens.top_n.
        judges: names of the judges.
        levels: levels that were judged: image_level, concept_level, codebook_level; none without judges.
        studies: names of the studies; NAME=module:STUDY of a study from outside.
        study_figures: figures of the studies' sections, each as STUDY=FIGURE.
        methods: methods of importance; the page shows the first, and tokens of all.
        tokens: tokens of a list.
        shard: tar of images for the patches of tokens. Without it, the page has no pictures of images.
        source: the test images are drawn by the generator, imported as grids, or real pictures that were encoded.
        settings: settings of the run to show, each as name=value.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator; the family's own if not given.
        headlines: text file to write, of three answers, each a line; none if not given.
    """
    if not extractors:
        raise InputError("--extractors: the page explains at least one extractor")
    spec = generator_spec(generator, family)
    found = find_studies(studies)
    files = RunFiles(
        run, extractors, judges, levels if judges else (), tuple(found), methods, tokens, source == "pictures"
    )
    files.check()
    invalid = [reader for reader in files.readers if not reader.valid]
    cards = Cards(files, spec.class_names, top_n, shard, spec.scales)
    drawn = study_pictures(run / "figures", found, study_figures)
    topics = {
        name: study_section(
            study, files.metrics[name], read_tables(run, study) | stated(settings, study), drawn[name], invalid
        )
        for name, study in found.items()
    }
    evidence = Evidence(
        files.metrics,
        min(Counter(split_name(one)[0] for one in extractors).values()),
        invalid,
        files.levels,
        f"The run has no {'decoder' if judges else 'judges'}.",
        cards.shown,
        added_to_answers(topics, QUESTIONS),
    )
    answered = answers(evidence)
    measured = files.metrics.get("reconstruction", [])
    has = {"trained": files.trains, "images": shard, "reconstruction": measured}
    shown = {*files.levels, *(part for part, there in has.items() if there)}
    page = load_page(TEMPLATES, name="page.html.j2").render(
        files=files,
        cards=cards,
        few=FEW,
        sure=SURE,
        few_right=FEW_RIGHT,
        facts=facts(spec, cards, read_rows(files.manifest), source),
        answers=answered,
        source=source,
        real=real_pictures(measured, spec.codes, cards.name) if measured else None,
        invalid=invalid,
        levels={
            level: level_section(level, files.metrics[level], files.metrics["comparisons"], invalid)
            for level in files.levels
        },
        models=models_section(files, top_n, cards.name, invalid),
        overlap=overlap_section(files, cards.shown),
        pictures=read_pictures(run / "figures", shown, judges),
        topics=topics,
        every_row={name: mark_invalid(full_table(files.metrics[name]), invalid) for name in files.metrics},
        origin=origin(files.tables()),
        tables=len(files.tables()),
        kept=kept_decisions(run),
        written_by=provenance(),
        atlas=ATLAS if (output.parent / ATLAS).is_file() else None,
        settings=[setting.partition("=")[::2] for setting in settings],
    )
    with whole_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    if headlines is not None:
        with whole_file(headlines) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in first_findings(answered)), encoding="utf-8")


def first_findings(answered: Sequence[Answer], most: int = 3) -> list[str]:
    """The first sentences of the first answers that were measured."""
    return [*dict.fromkeys(answer.details[0] for answer in answered if answer.measured)][:most]


def read_tables(run: Path, study: Study) -> dict[str, Rows]:
    """Tables beside the metrics that a study's section reads, by name."""
    return {name: read_rows(run / path) for name, path in study.tables.items()}


def stated(settings: Sequence[str], study: Study) -> dict[str, Any]:
    """Settings of the run that a study's section states, by its parameter; None where they are not given."""
    given = dict(setting.partition("=")[::2] for setting in settings)
    return {name: json.loads(given.get(key, "null")) for name, key in study.stated.items()}


def facts(spec: GeneratorSpec, cards: Cards, shards: Rows, source: Source) -> dict[str, str]:
    """What the run is about, by name."""
    counts = [f"{sum(row['samples'] for row in of):,} {split}" for (split,), of in groups(shards, "split").items()]
    size = sum(row["bytes"] for row in shards) / 1e6
    labels, files = sorted(cards.files.frequent), cards.files
    names = [cards.name(label) for label in labels[:12]]
    return {
        "classes": f"{len(labels):,} ({', '.join(names)}{', …' if len(labels) > len(names) else ''})",
        "images": f"{words.listed(counts)}, {ORIGINS[source]}, in {len(shards):,} shards of {size:,.1f} MB together",
        "tokens": f"an image: {words.grid(spec)}; codebook of {spec.codes:,} codes with {spec.channels} channels",
        "extractors": words.listed(_with_trainings(files.extractors)),
        "judges": words.listed(files.judges) if files.judges else "none",
    }


def _with_trainings(extractors: Sequence[str]) -> list[str]:
    """Names of extractors, with the number of their trainings."""
    counts = Counter(split_name(word)[0] for word in extractors)
    return [f"{name} ({count} training{'s' if count > 1 else ''})" for name, count in counts.items()]


def origin(tables: Sequence[Path]) -> dict[str, dict[str, int]]:
    """What the tables' schema metadata says of their origin: by key, every value with how many files state it.

    Files of one run may state several values, such as git commits: a new commit makes nothing run again by itself.
    """
    stated: dict[str, dict[str, int]] = {}
    for path in tables:
        metadata = pq.read_schema(path).metadata or {}
        entries = {key.decode(): value.decode() for key, value in metadata.items() if key.startswith(b"cortex.")}
        packages = json.loads(entries.pop("cortex.packages", "{}"))
        for name, value in {
            **{key.removeprefix("cortex."): value for key, value in entries.items()},
            **packages,
        }.items():
            values = stated.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    return stated


def load_page(*folders: Path, name: str) -> jinja2.Template:
    """A page's template.

    Args:
        folders: of templates.
        name: of the page's file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= words.FILTERS
    return environment.get_template(name)
