"""The page: what the run was, its figures with their captions, its metrics and what they say, in one HTML file."""

import importlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pyarrow.parquet as pq

from cortex.core.errors import InputError
from cortex.core.files import whole_file
from cortex.core.kept import kept_decisions
from cortex.core.provenance import provenance
from cortex.explain import TIS
from cortex.extractors.names import split_name
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import generator_spec
from cortex.generators.spec import GeneratorSpec
from cortex.report import TEMPLATES, folder_of, level_tables, words
from cortex.report import levels as say
from cortex.report.pictures import Picture, read_pictures, read_study_pictures
from cortex.report.rows import Rows, claims, groups, read_rows, select, shown_rows
from cortex.report.tables import Table, full_table
from cortex.report.token_lists import token_lists
from cortex.report.topic import Finding, Topic
from cortex.studies import STUDIES
from cortex.studies.base import Study

LEVELS = ("image_level", "concept_level", "codebook_level")


def write_report(
    output: Path,
    run: Path,
    *,
    extractors: tuple[str, ...] = (),
    judges: tuple[str, ...] = (),
    levels: tuple[str, ...] = LEVELS,
    studies: tuple[str, ...] = (),
    study_figures: tuple[str, ...] = (),
    images: bool = True,
    top_n: int | None = None,
    tokens: int = 100,
    method: str = TIS,
    settings: tuple[str, ...] = (),
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    headlines: Path | None = None,
) -> None:
    """Write the report of a run: one HTML file that needs no other file and no network.

    The command reads metrics, lists of tokens, histories and figures from the run's folder.

    Args:
        output: HTML file to write.
        run: folder of the run, such as results/digits.
        extractors: trained extractors, such as cnn/0.
        judges: names of the judges.
        levels: levels that were judged: image_level, concept_level, codebook_level; none without judges.
        studies: names of the studies; NAME=module:STUDY of a study from outside.
        study_figures: figures of the studies' sections, each as STUDY=FIGURE.
        images: whether the run has images. Without images, their figures are left out.
        top_n: list of concept-level tokens to compare with the most frequent tokens; needed with extractors.
        tokens: tokens of such a list.
        method: attribution of the concept-level tokens, the first of the run's.
        settings: settings of the run to show, each as name=value.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator; the family's own if not given.
        headlines: text file to write, of the first findings, each a line; none if not given.
    """
    if extractors and top_n is None:
        raise InputError("--top-n: should be one of the run's concept_tokens.top_n where there are extractors")
    pages = find_studies(studies)
    files = RunFiles(run, extractors, judges, levels if judges and extractors else (), tuple(pages), method)
    every_row = {name: read_rows(path) for name, path in files.metrics.items()}
    metrics = {name: claims(rows) for name, rows in every_row.items()}
    shown = {name: shown_rows(rows) if name in LEVELS else rows for name, rows in metrics.items()}
    comparisons = claims(select(read_rows(files.comparisons), label=None)) if files.levels else []
    compared = shown_rows(comparisons)
    frequent = token_lists(files.frequent_tokens, None, tokens) if extractors else {}
    lists = {
        name: token_lists(path, top_n, tokens) for name, path in zip(extractors, files.concept_tokens, strict=True)
    }
    histories = {judge: read_rows(path) if path else [] for judge, path in files.histories.items()}
    spec = generator_spec(generator, family)
    found = findings(shown, compared, lists, frequent)
    page = _template().render(
        origin=origin(files.tables()),
        kept=kept_decisions(run),
        written_by=provenance(),
        facts=facts(spec, sorted(frequent), read_rows(files.manifest), extractors, judges),
        settings=[setting.partition("=")[::2] for setting in settings],
        extractors=extractors,
        judges=judges,
        levels=files.levels,
        missing=[level for level in LEVELS if level not in files.levels],
        images=images,
        pictures=read_pictures(run / "figures", {*files.levels, *(["images"] if images else [])}, judges)
        if extractors
        else {},
        findings=found,
        tables=tables(shown, compared, histories),
        full_tables={name: full_table(rows) for name, rows in every_row.items()},
        comparisons={level: level_tables.comparisons_table(comparisons, level) for level in files.levels},
        top_n=top_n,
        topics={name: section_of(study)(metrics[name]) for name, study in pages.items()},
        topic_pictures=study_pictures(run / "figures", pages, study_figures),
    )
    with whole_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    if headlines is not None:
        with whole_file(headlines) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in first_headlines(found)), encoding="utf-8")


@dataclass(frozen=True)
class RunFiles:
    """Files of a run that the page is made of, by their names in the run's folder.

    Args:
        run: the folder.
        extractors: trained extractors, such as cnn/0.
        judges: names of the judges.
        levels: levels that were judged.
        studies: names of the studies.
        method: attribution of the concept-level tokens.
    """

    run: Path
    extractors: tuple[str, ...]
    judges: tuple[str, ...]
    levels: tuple[str, ...]
    studies: tuple[str, ...]
    method: str

    @property
    def metrics(self) -> dict[str, Path]:
        """Tables of metrics by name, but for the comparisons."""
        accuracy = ["extractor_accuracy"] if self.extractors else []
        accuracy += ["judge_accuracy"] if self.judges and self.extractors else []
        return {name: self.run / "metrics" / f"{name}.parquet" for name in (*accuracy, *self.levels, *self.studies)}

    @property
    def comparisons(self) -> Path:
        """The comparisons of the levels."""
        return self.run / "metrics" / "comparisons.parquet"

    @property
    def concept_tokens(self) -> list[Path]:
        """The concept-level tokens of every extractor."""
        return [self.run / "tokens" / self.method / f"{extractor}.parquet" for extractor in self.extractors]

    @property
    def frequent_tokens(self) -> Path:
        """The most frequent tokens."""
        return self.run / "tokens" / "frequency.parquet"

    @property
    def histories(self) -> dict[str, Path | None]:
        """By judge, its history; None where it was trained elsewhere."""
        paths = {judge: self.run / "judges" / judge / "history.parquet" for judge in self.judges}
        return {judge: path if path.exists() else None for judge, path in paths.items()}

    @property
    def manifest(self) -> Path:
        """The list of shards."""
        return self.run / "data" / "manifest.parquet"

    def tables(self) -> list[Path]:
        """All tables."""
        found = [*self.metrics.values(), self.manifest, *self.concept_tokens]
        found += [self.comparisons] if self.levels else []
        found += [self.frequent_tokens] if self.extractors else []
        return [*found, *(path for path in self.histories.values() if path)]


def find_studies(words: Sequence[str]) -> dict[str, Study]:
    """Studies that have a section, by name, in the page's order.

    Args:
        words: NAME of a registered study, or NAME=module:STUDY.

    Raises:
        InputError: there is no such study.
    """
    named = [(name, reference or name) for name, _, reference in (word.partition("=") for word in words)]
    found: dict[str, Study] = {name: STUDIES.load(reference) for name, reference in named}
    return dict(sorted(((name, study) for name, study in found.items() if study.page), key=lambda item: item[1].order))


def section_of(study: Study) -> Callable[[Rows], Topic]:
    """The function that makes a study's section of the page."""
    module, _, function = study.page.partition(":")
    section: Callable[[Rows], Topic] = getattr(importlib.import_module(module), function)
    return section


def study_pictures(folder: Path, pages: Mapping[str, Study], figures: Sequence[str]) -> dict[str, list[Picture]]:
    """The figures of the studies' sections, by study.

    Args:
        folder: of the figures' files.
        pages: the studies by name.
        figures: of the sections, each as STUDY=FIGURE.

    Raises:
        InputError: a figure is missing.
    """
    of_study: dict[str, list[str]] = {name: [] for name in pages}
    for study, _, figure in (word.partition("=") for word in figures):
        of_study[study].append(figure)
    return {name: read_study_pictures(folder, named, folder_of(pages[name].page)) for name, named in of_study.items()}


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


def facts(
    spec: GeneratorSpec, labels: Sequence[int], shards: Rows, extractors: Sequence[str], judges: Sequence[str]
) -> dict[str, str]:
    """What the run is about, by name."""
    counts = [f"{sum(row['samples'] for row in of):,} {split}" for (split,), of in groups(shards, "split").items()]
    size = sum(row["bytes"] for row in shards) / 1e6
    grid = f"{spec.grid[0]} × {spec.grid[1]} an image"
    return {
        "classes": _class_list(spec, labels),
        "images": f"{words.listed(counts)}, in {len(shards):,} shards of {size:,.1f} MB together",
        "tokens": f"{grid}; codebook of {spec.codes:,} codes with {spec.channels} channels",
        "extractors": words.listed(_with_trainings(extractors)) if extractors else "none",
        "judges": words.listed(judges) if judges else "none",
    }


def findings(
    metrics: Mapping[str, Rows],
    compared: Rows,
    lists: Mapping[str, Mapping[int, list[int]]],
    frequent: Mapping[int, list[int]],
) -> dict[str, list[Finding]]:
    """Findings about the method itself, by the names of the metrics, and about the lists of tokens."""
    of_level = {
        "image_level": say.image_level_findings,
        "concept_level": say.concept_level_findings,
        "codebook_level": say.codebook_level_findings,
    }
    found: dict[str, list[Finding]] = {"tokens": [say.overlap_finding(lists, frequent)] if lists else []}
    if "extractor_accuracy" in metrics:
        found["extractor_accuracy"] = say.extractor_findings(metrics["extractor_accuracy"], len(frequent))
    if "judge_accuracy" in metrics:
        found["judge_accuracy"] = say.judge_findings(metrics["judge_accuracy"])
    return found | {name: of_level[name](rows, compared) for name, rows in metrics.items() if name in of_level}


def first_headlines(found: Mapping[str, Sequence[Finding]], most: int = 3) -> list[str]:
    """The first finding of every level, and of other metrics where there are fewer levels; each on one line."""
    first = [findings[0].headline for name in (*LEVELS, *found) if (findings := found.get(name))]
    return [" ".join(headline.split()) for headline in dict.fromkeys(first)][:most]


def tables(metrics: Mapping[str, Rows], compared: Rows, histories: Mapping[str, Rows]) -> dict[str, Table]:
    """Tables about the method itself, by the names of the metrics."""
    make = {
        "extractor_accuracy": level_tables.accuracy_table,
        "judge_accuracy": lambda rows: level_tables.judges_table(histories, rows, metrics.get("image_level", [])),
        "image_level": level_tables.image_level_table,
        "concept_level": lambda rows: level_tables.concept_level_table(rows, compared),
        "codebook_level": level_tables.codebook_level_table,
    }
    return {name: make[name](rows) for name, rows in metrics.items() if name in make}


def _with_trainings(extractors: Sequence[str]) -> list[str]:
    """Names of extractors, with the number of their trainings."""
    counts = Counter(split_name(word)[0] for word in extractors)
    return [f"{name} ({count} training{'s' if count > 1 else ''})" for name, count in counts.items()]


def _class_list(spec: GeneratorSpec, labels: Sequence[int], most: int = 12) -> str:
    """How many classes, and the first of their names."""
    names = spec.class_names
    shown = [names[label] if label < len(names) else f"class {label}" for label in labels[:most]]
    return f"{len(labels):,} ({', '.join(shown)}{', …' if len(labels) > most else ''})"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
