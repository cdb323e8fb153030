"""The page: what the run was, its figures with their captions, its metrics and what they say, in one HTML file."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq

from cortex.core.errors import InputError
from cortex.core.files import whole_file
from cortex.core.provenance import provenance
from cortex.core.tables import read_table
from cortex.generators.spec import generator_spec
from cortex.report import CAPTIONS, TEMPLATE
from cortex.report import findings as say
from cortex.report.curves import pairs
from cortex.report.pictures import token_lists
from cortex.report.tabular import Cell, Table, full_table, groups, number, share
from cortex.report.topics import TOPICS

MIME = {".svg": "image/svg+xml", ".png": "image/png"}
LEVELS = ("image_level", "concept_level", "codebook_level")
# The figures in the page's order; all but the last exist once, that one once for each judge.
FIGURES = (
    "samples",
    "training",
    "importance",
    "tokens",
    "masking_by_n",
    "masking_by_area",
    "masking_by_brightness",
    "concept_level",
    "codebook_level",
    "codebook_search",
)


@dataclass(frozen=True)
class Picture:
    """A figure as the page holds it.

    Args:
        source: the file as a data URI.
        title: first line of its caption, also its text for those who do not see it.
        text: the rest of the caption.
        of: what tells it from others of its name, such as the judge; empty where it is the only one.
    """

    source: str
    title: str
    text: str
    of: str


def write_report(
    output: Path,
    figures: list[Path],
    *,
    extractor_accuracy: Path,
    judge_accuracy: Path,
    image_level: Path,
    concept_level: Path,
    codebook_level: Path,
    comparisons: Path,
    judges: list[str],
    trained_judges: list[str],
    judge_histories: list[Path],
    extractors: list[str],
    tokens: list[Path],
    frequency: Path,
    top_n: int,
    manifest: Path,
    settings: list[str],
    topics: tuple[Path, ...] = (),
    generator: Path | None = None,
) -> None:
    """Write the report: one HTML file that needs no other file and no network.

    Args:
        output: HTML file to write.
        figures: svg and png files named after their captions: samples, training, importance, tokens, masking_by_n,
            masking_by_area, masking_by_brightness, concept_level, codebook_level, and codebook_search.JUDGE for every
            judge; a topic may have one of its name.
        extractor_accuracy: accuracy of the extractors.
        judge_accuracy: accuracy of the judges on generated images.
        image_level: image-level metrics.
        concept_level: concept-level metrics.
        codebook_level: codebook-level metrics.
        comparisons: of every method with its baselines.
        judges: names of the judges.
        trained_judges: those of them that were trained in the run.
        judge_histories: their history.parquet files, in the same order.
        extractors: names of the extractors.
        tokens: their concept-level tokens, in the same order.
        frequency: the most frequent tokens.
        top_n: which of the concept-level token lists is shown and compared with the most frequent tokens.
        manifest: the list of shards.
        settings: the run's settings, each as name=value, for the record.
        topics: tables of what else the run tells, named after the topics of :mod:`cortex.report.topics`.
        generator: weights file of the generator; the embedded digits generator if not given.
    """
    metric_files = {
        "extractor_accuracy": extractor_accuracy,
        "judge_accuracy": judge_accuracy,
        "image_level": image_level,
        "concept_level": concept_level,
        "codebook_level": codebook_level,
    }
    metrics = {name: read_table(path).to_pylist() for name, path in metric_files.items()}
    compared = [row for row in read_table(comparisons).to_pylist() if row["label"] is None]
    facts = generator_spec(generator)
    frequent = token_lists(frequency, None)
    lists = {name: token_lists(path, top_n) for name, path in pairs(extractors, tokens)}
    shards = read_table(manifest).to_pylist()
    histories: dict[str, say.Rows] = {name: [] for name in judges}
    told = read_topics(topics)
    histories |= {name: read_table(path).to_pylist() for name, path in pairs(trained_judges, judge_histories)}
    page = _template().render(
        origin=origin([*metric_files.values(), comparisons, frequency, manifest, *tokens, *judge_histories, *topics]),
        written_by=provenance(),
        facts={
            "classes": _class_list([facts.class_names[label] for label in sorted(frequent)]),
            "images": _image_counts(shards),
            "tokens": f"{facts.grid[0]} × {facts.grid[1]} an image, of a codebook of {facts.codes:,} codes with "
            f"{facts.channels} channels",
            "extractors": say.listed(extractors),
            "judges": say.listed(judges),
        },
        settings=[setting.partition("=")[::2] for setting in settings],
        pictures=read_pictures(figures),
        findings={
            "extractor_accuracy": say.extractor_findings(metrics["extractor_accuracy"], len(frequent)),
            "judge_accuracy": say.judge_findings(metrics["judge_accuracy"]),
            "image_level": say.image_level_findings(metrics["image_level"], compared),
            "concept_level": say.concept_level_findings(metrics["concept_level"], compared),
            "codebook_level": say.codebook_level_findings(metrics["codebook_level"], compared),
            "tokens": [say.overlap_finding(lists, frequent)],
        },
        tables={
            "extractor_accuracy": accuracy_table(metrics["extractor_accuracy"]),
            "judge_accuracy": judges_table(histories, metrics["judge_accuracy"], metrics["image_level"]),
            "image_level": image_level_table(metrics["image_level"]),
            "concept_level": concept_level_table(metrics["concept_level"], compared),
            "codebook_level": codebook_level_table(metrics["codebook_level"]),
        },
        full={name: full_table(rows) for name, rows in (metrics | told).items()},
        comparisons={name: comparisons_table(compared, name) for name in LEVELS},
        top_n=top_n,
        topics={name: TOPICS[name](rows) for name, rows in told.items()},
    )
    with whole_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def read_pictures(figures: list[Path]) -> dict[str, list[Picture]]:
    """The figures by name, inlined, with their captions.

    Raises:
        InputError: a figure is missing, unknown, or of a kind that a page cannot show.
    """
    pictures: dict[str, list[Picture]] = {name: [] for name in (*FIGURES, *TOPICS)}
    for path in figures:
        name, _, of = path.stem.partition(".")
        if name not in pictures or path.suffix not in MIME:
            raise InputError(f"{path}: no figure of the report; those are {', '.join(FIGURES)}, as svg or png")
        content = base64.b64encode(path.read_bytes()).decode()
        title, text = caption(name)
        pictures[name].append(Picture(f"data:{MIME[path.suffix]};base64,{content}", title, text, of))
    if missing := [name for name in FIGURES if not pictures[name]]:
        raise InputError(f"figures: {', '.join(missing)} missing")
    return pictures


def read_topics(tables: Iterable[Path]) -> dict[str, say.Rows]:
    """The rows of the topics' tables by name, in the page's order.

    Raises:
        InputError: a table is of no topic.
    """
    found = {path.stem: path for path in tables}
    if unknown := found.keys() - TOPICS.keys():
        raise InputError(f"{found[min(unknown)]}: no topic of the report; those are {', '.join(TOPICS)}")
    return {name: read_table(found[name]).to_pylist() for name in TOPICS if name in found}


def caption(name: str) -> tuple[str, str]:
    """First line and the rest of a figure's caption, the same that Snakemake's own report shows."""
    title, _, text = (CAPTIONS / f"{name}.rst").read_text(encoding="utf-8").partition("\n")
    return title.strip(), " ".join(text.split())


def origin(tables: list[Path]) -> dict[str, dict[str, int]]:
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


def accuracy_table(rows: say.Rows) -> Table:
    """Top-k accuracy and its interval, an extractor and split a row, k in columns."""
    ks = sorted({row["k"] for row in rows})
    table = Table(["extractor", "split", *(f"top-{k}" for k in ks), "images"], 2)
    for (extractor, split), group in groups(rows, "extractor", "split").items():
        at = {row["k"]: row for row in group}
        cells = [_accuracy(at.get(k)) for k in ks]
        table.rows.append([Cell(extractor), Cell(split), *cells, number(group[0]["samples"])])
    return table


def judges_table(histories: Mapping[str, say.Rows], accuracy: say.Rows, image_level: say.Rows) -> Table:
    """Judges: how well they read held-out real images, and generated ones, and the probability that these get."""
    readings = groups(accuracy, "split", "k")
    headings = [f"top-{k}, generated ({split})" for split, k in readings]
    table = Table(["judge", "epochs", "top-1, held-out real images", *headings, "label's probability, unmasked"], 1)
    for judge, history in histories.items():
        last = history[-1] if history else {"epoch": None, "held_out_top1": None}  # pretrained
        cells = [number(last["epoch"]), share(last["held_out_top1"])]
        for group in readings.values():
            cells.append(_accuracy(next((row for row in group if row["judge"] == judge), None)))
        seen = next((row for row in image_level if row["judge"] == judge), None)
        cells.append(number(seen["probability"] - seen["probability_change"] if seen else None))
        table.rows.append([Cell(judge), *cells])
    return table


def image_level_table(rows: say.Rows) -> Table:
    """Change of the label's probability, a method a row, n in columns; best is the lowest of an extractor and judge."""
    ns = sorted({row["n"] for row in rows})
    table = Table(["extractor", "judge", "method", *(f"n = {n}" for n in ns)], 3)
    for (extractor, judge), group in groups(rows, "extractor", "judge").items():
        for method, of_method in groups(group, "method").items():
            at = {row["n"]: row["probability_change"] for row in of_method}
            others = {n: [row["probability_change"] for row in group if row["n"] == n] for n in ns}
            cells = [
                Cell(say.change(at[n]), at[n], _stands_out(at[n], others[n], min)) if n in at else Cell("–") for n in ns
            ]
            table.rows.append([Cell(extractor), Cell(judge), Cell(*method), *cells])
    return table


def concept_level_table(rows: say.Rows, comparisons: say.Rows) -> Table:
    """Change of the label's probability and the masked share; best are those that compare as better than frequency."""
    settings = sorted({row["top_n"] for row in rows if row["top_n"] is not None})
    table = Table(["extractor", "judge", *(f"importance, top_n = {n}" for n in settings), "frequency"], 2)
    for (extractor, judge), group in groups(rows, "extractor", "judge").items():
        verdicts = {
            row["setting"]: row["verdict"]
            for row in comparisons
            if (row["level"], row["extractor"], row["judge"]) == ("concept_level", extractor, judge)
        }
        cells = []
        for n in [*settings, None]:
            row = next((row for row in group if row["top_n"] == n), None)
            if row is None:
                cells.append(Cell("–"))
                continue
            value = row["probability_change"]
            better = verdicts.get(n) == "better"
            cells.append(Cell(f"{say.change(value)} ({say.percent(row['masked_fraction'])})", value, better))
        table.rows.append([Cell(extractor), Cell(judge), *cells])
    return table


def codebook_level_table(rows: say.Rows) -> Table:
    """Probabilities before and after the search; best is the larger rise of the target's of an extractor and judge."""
    names = [f"{which}_probability_{when}" for which in ("target", "source") for when in ("before", "after")]
    headings = ["target before", "target after", "change", "source before", "source after", "images"]
    table = Table(["extractor", "judge", "method", *headings], 3)
    for (extractor, judge), group in groups(rows, "extractor", "judge").items():
        gains = [say.gain(row) for row in group]
        for row, gain in zip(group, gains, strict=True):
            before, after, source_before, source_after = (number(row[name]) for name in names)
            rise = Cell(say.change(gain), gain, _stands_out(gain, gains, max))
            cells = [before, after, rise, source_before, source_after, number(row["samples"])]
            table.rows.append([Cell(extractor), Cell(judge), Cell(row["method"]), *cells])
    return table


def comparisons_table(rows: say.Rows, level: str) -> Table:
    """The comparisons of a level over all images: difference, interval, effect size, p-value and verdict."""
    of_level = [row for row in rows if row["level"] == level]
    names = ["extractor", "judge", "method", "baseline", *(["setting"] if level != "codebook_level" else [])]
    values = ["pairs", "difference", "low", "high", "effect_size", "p_corrected", "verdict"]
    cells = [[number(row[name]) for name in (*names, *values)] for row in of_level]
    for row in cells:
        row[-1] = Cell(row[-1].text, best=row[-1].text == "better")
    return Table([*names, *values], 4, cells)


def _accuracy(row: say.Row | None) -> Cell:
    """A cell of an accuracy and its interval, in percent."""
    if row is None:
        return Cell("–")
    value, low, high = (row[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return Cell(f"{say.percent(value)} ({100 * low:.1f} to {100 * high:.1f})", value)


def _stands_out(value: float, group: Sequence[float], of: Any) -> bool:
    """Whether a value is the lowest (or highest) of its group, alone."""
    return len(group) > 1 and value == of(group) and list(group).count(value) == 1


def _class_list(names: list[str], most: int = 12) -> str:
    """How many classes, and the first of their names."""
    more = ", …" if len(names) > most else ""
    return f"{len(names):,} ({', '.join(names[:most])}{more})"


def _image_counts(shards: say.Rows) -> str:
    """Images of every split, and the size of all shards."""
    counts = [
        f"{sum(row['samples'] for row in of_split):,} {split}" for (split,), of_split in groups(shards, "split").items()
    ]
    size = sum(row["bytes"] for row in shards)
    return f"{say.listed(counts)}, in {len(shards):,} shards of {size / 1e6:,.1f} MB together"


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(TEMPLATE.parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE.name)
