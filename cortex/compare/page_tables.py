"""Tables of the page: runs in columns, or a difference of two runs a row."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cortex.compare.runs import ComparedRun
from cortex.compare.shared import LeftOut, Shared
from cortex.compare.values import MEASURES
from cortex.report import settings_in_words, words
from cortex.report.results import Reader
from cortex.report.rows import Row, Rows, groups, select
from cortex.report.tables import Cell, Table, number

Invalid = Mapping[str, Sequence[Reader]]  # extractors and judges at chance level, by run


def concerned(row: Row, invalid: Invalid) -> bool:
    """Whether a row depends on an extractor or a judge at chance level, of the run or the runs that it names."""
    runs = [row[name] for name in ("run", "other_run") if row.get(name) is not None]
    return any(reader.concerns(row) for run in runs for reader in invalid[run])


def accuracy_table(rows: Rows, runs: Sequence[str]) -> Table:
    """Top-1 accuracy: an extractor and training a row, runs in columns."""
    of_all = select(rows, **{"class": None})
    return _beside(of_all, runs, ("extractor", "training"), _accuracy)


def class_table(rows: Rows, runs: Sequence[str]) -> Table:
    """Top-1 accuracy of every class: a class and extractor a row, runs in columns."""
    return _beside([row for row in rows if row["class"] is not None], runs, ("class", "extractor"), _accuracy)


def curves_table(rows: Rows, invalid: Invalid) -> Table:
    """Changes at equal area over all trainings and shared classes: run, extractor and judge in rows."""
    of_all = select(rows, training=None, **{"class": None})
    names = ("attribution", "extractor", "judge", "area", "run")
    ordered = [row for place in groups(of_all, *names[:4]).values() for row in place]
    table = Table([*names, *(name.replace("_", " ") for name in MEASURES)], len(names))
    for row in ordered:
        cells = [Cell(f"{words.change(row[name])} ({_ends(row, name)})", row[name]) for name in MEASURES]
        table.rows.append([*(_named(name, row[name]) for name in names), *cells])
    return _marked(table, ordered, invalid)


def differences_table(rows: Rows, invalid: Invalid) -> Table:
    """Differences of two runs, with interval, corrected p-value and verdict: a row each."""
    columns = ("attribution", "extractor", "judge", "area")
    names = ["run", "other_run", *(name for name in columns if any(row[name] is not None for row in rows))]
    headings = ["run", "other run", *names[2:]]
    table = Table([*headings, "difference", "p, corrected", "verdict for the first run"], len(names))
    for row in rows:
        difference = f"{words.change(row['difference'])} ({words.change(row['low'])} to {words.change(row['high'])})"
        cells = [Cell(difference, row["difference"]), number(row["p_corrected"])]
        said = Cell(row["verdict"] or "–", best=row["verdict"] in ("better", "worse"))
        table.rows.append([*(_named(name, row[name]) for name in names), *cells, said])
    return _marked(table, rows, invalid)


def overlap_table(rows: Rows) -> Table:
    """Overlap of concept tokens: pairs of trainings in columns, of one run or of two."""
    pairs = {(row["run"], row["other_run"]): _pair(row) for row in rows}
    names = ("attribution", "extractor", "list", "top_n", "n")
    table = Table([*names, *pairs.values()], len(names))
    for place, of_place in groups(rows, *names).items():
        by_pair = {(row["run"], row["other_run"]): row for row in of_place}
        cells = [
            Cell(words.estimate(by_pair[pair]), by_pair[pair]["value"]) if pair in by_pair else Cell("–")
            for pair in pairs
        ]
        table.rows.append([*map(number, place), *cells])
    return table


def runs_table(shared: Shared) -> Table:
    """What the runs are: facts in rows, runs in columns."""
    table = Table(["fact", *(run.name for run in shared.runs)], 1)
    for title, texts in _facts(shared).items():
        table.rows.append([Cell(title), *map(Cell, texts)])
    return table


def settings_table(runs: Sequence[ComparedRun]) -> Table:
    """Settings that differ between the runs: runs in columns."""
    table = Table(["setting", *(run.name for run in runs)], 1)
    stated = [dict(word.split("=", 1) for word in settings_in_words(run.run.settings)) for run in runs]
    for name in dict.fromkeys(name for of_run in stated for name in of_run):
        values = [of_run.get(name, "–") for of_run in stated]
        if len(set(values)) > 1:
            table.rows.append([Cell(name), *map(Cell, values)])
    return table


def left_out_table(left_out: Sequence[LeftOut]) -> Table:
    """What is not compared, and why."""
    table = Table(["what", "name", "reason"], 3)
    table.rows.extend([Cell(one.what), Cell(one.names), Cell(one.reason)] for one in left_out)
    return table


def _facts(shared: Shared) -> dict[str, list[str]]:
    runs = shared.runs
    specs = [run.spec for run in runs]
    return {
        "generator family": [str(run.run.settings["generator"]["family"]) for run in runs],
        "token grid": [words.grid(spec) for spec in specs],
        "codes": [f"{spec.codes:,} of {spec.channels} channels" for spec in specs],
        "codebook, SHA-256": [run.codebook[:12] for run in runs],
        "classes": [f"{len(run.classes):,}, of which {len(shared.classes):,} shared" for run in runs],
        "test images": [f"{len(run.test):,}" for run in runs],
        "extractors (trainings)": [
            words.listed([f"{name} ({len(numbers)})" for name, numbers in run.extractors.items()]) for run in runs
        ],
        "judges": [words.listed(run.judges) if run.judges else "none" for run in runs],
        "methods of importance": [words.listed(run.run.attributions) for run in runs],
    }


def _beside(rows: Rows, runs: Sequence[str], names: Sequence[str], cell: Any) -> Table:
    """Rows by names, runs in columns."""
    table = Table([*names, *runs], len(names))
    for place, of_place in groups(rows, *names).items():
        by_run = {row["run"]: row for row in of_place}
        cells = [cell(by_run[run]) if run in by_run else Cell("–") for run in runs]
        table.rows.append([*(_named(name, value) for name, value in zip(names, place, strict=True)), *cells])
    return table


def _accuracy(row: Row) -> Cell:
    ends = (100 * row[f"accuracy_{end}"] for end in ("low", "high"))
    return Cell(f"{words.percent(row['accuracy'])} ({' to '.join(f'{end:.1f}' for end in ends)})", row["accuracy"])


def _ends(row: Row, name: str) -> str:
    return f"{words.change(row[f'{name}_low'])} to {words.change(row[f'{name}_high'])}"


def _named(name: str, value: Any) -> Cell:
    """A cell that names a row: an area in percent, no training as all of them."""
    if name == "area" and value is not None:
        return Cell(words.rounded(value), value)
    return Cell("all") if name == "training" and value is None else number(value)


def _pair(row: Row) -> str:
    return (
        f"two trainings of {row['run']}" if row["run"] == row["other_run"] else f"{row['run']} and {row['other_run']}"
    )


def _marked(table: Table, rows: Rows, invalid: Invalid) -> Table:
    """The table, whose rows are those of ``rows``, with those marked that depend on a network at chance level."""
    return replace(table, invalid=frozenset(n for n, row in enumerate(rows) if concerned(row, invalid)))
