"""Tables of the method itself: accuracies, and the three levels of explanation."""

from collections.abc import Mapping, Sequence
from typing import Any

from cortex.report import words
from cortex.report.levels import gain
from cortex.report.rows import Row, Rows, groups, select
from cortex.report.tables import Cell, Table, number, share


def accuracy_table(rows: Rows) -> Table:
    """Top-k accuracy and its interval, an extractor and split a row, k in columns."""
    ks = sorted({row["k"] for row in rows})
    table = Table(["extractor", "split", *(f"top-{k}" for k in ks), "images"], 2)
    for (extractor, split), group in groups(rows, "extractor", "split").items():
        at = {row["k"]: row for row in group}
        cells = [_accuracy(at.get(k)) for k in ks]
        table.rows.append([Cell(extractor), Cell(split), *cells, number(group[0]["samples"])])
    return table


def judges_table(histories: Mapping[str, Rows], accuracy: Rows, image_level: Rows) -> Table:
    """Judges: accuracy on held-out real images and on generated ones, and the probability of these images' labels."""
    readings = groups(accuracy, "split", "k")
    headings = [f"top-{k}, generated ({split})" for split, k in readings]
    table = Table(["judge", "epochs", "top-1, held-out real images", *headings, "label's probability, unmasked"], 1)
    for judge, history in histories.items():
        last = history[-1] if history else {"epoch": None, "held_out_top1": None}  # pretrained
        cells = [number(last["epoch"]), share(last["held_out_top1"])]
        for group in readings.values():
            cells.append(_accuracy(next(iter(select(group, judge=judge)), None)))
        seen = next(iter(select(image_level, judge=judge)), None)
        cells.append(number(seen["probability"] - seen["probability_change"] if seen else None))
        table.rows.append([Cell(judge), *cells])
    return table


def image_level_table(rows: Rows) -> Table:
    """Change of the label's probability, a method a row, n in columns; best is the lowest of an extractor and judge."""
    ns = sorted({row["n"] for row in rows})
    table = Table(["extractor", "judge", "method", *(f"n = {n}" for n in ns)], 3)
    for (extractor, judge), group in groups(rows, "extractor", "judge").items():
        for method, of_method in groups(group, "method").items():
            at = {row["n"]: row["probability_change"] for row in of_method}
            others = {n: [row["probability_change"] for row in select(group, n=n)] for n in ns}
            cells = [
                Cell(words.change(at[n]), at[n], _stands_out(at[n], others[n], min)) if n in at else Cell("–")
                for n in ns
            ]
            table.rows.append([Cell(extractor), Cell(judge), Cell(*method), *cells])
    return table


def concept_level_table(rows: Rows, comparisons: Rows) -> Table:
    """Change of the label's probability and the masked share; best are those that compare as better than frequency."""
    settings = sorted({row["top_n"] for row in rows if row["top_n"] is not None})
    table = Table(["extractor", "judge", *(f"importance, top_n = {n}" for n in settings), "frequency"], 2)
    for (extractor, judge), group in groups(rows, "extractor", "judge").items():
        of_pair = select(comparisons, level="concept_level", extractor=extractor, judge=judge)
        verdicts = {row["setting"]: row["verdict"] for row in of_pair}
        cells = []
        for n in [*settings, None]:
            row = next(iter(select(group, top_n=n)), None)
            if row is None:
                cells.append(Cell("–"))
                continue
            value = row["probability_change"]
            text = f"{words.change(value)} ({words.percent(row['masked_fraction'])})"
            cells.append(Cell(text, value, verdicts.get(n) == "better"))
        table.rows.append([Cell(extractor), Cell(judge), *cells])
    return table


def codebook_level_table(rows: Rows) -> Table:
    """Probabilities before and after the search; best is the larger rise of the target's of an extractor and judge."""
    names = [f"{which}_probability_{when}" for which in ("target", "source") for when in ("before", "after")]
    headings = ["target before", "target after", "change", "source before", "source after", "images"]
    table = Table(["extractor", "judge", "method", *headings], 3)
    for (extractor, judge), group in groups(rows, "extractor", "judge").items():
        gains = [gain(row) for row in group]
        for row, raised in zip(group, gains, strict=True):
            before, after, source_before, source_after = (number(row[name]) for name in names)
            rise = Cell(words.change(raised), raised, _stands_out(raised, gains, max))
            cells = [before, after, rise, source_before, source_after, number(row["samples"])]
            table.rows.append([Cell(extractor), Cell(judge), Cell(row["method"]), *cells])
    return table


def comparisons_table(rows: Rows, level: str) -> Table:
    """The comparisons of a level over all images: difference, interval, effect size, p-value and verdict."""
    of_lists = ["list", "area"] if level == "concept_level" else []
    settings = ["attribution", *of_lists, "setting"] if level != "codebook_level" else []
    names = ["extractor", "judge", "method", "baseline", *settings]
    values = ["pairs", "difference", "low", "high", "effect_size", "p_corrected", "verdict"]
    cells = [[number(row[name]) for name in (*names, *values)] for row in select(rows, level=level)]
    for row in cells:
        row[-1] = Cell(row[-1].text, best=row[-1].text == "better")
    return Table([*names, *values], 4, cells)


def _accuracy(row: Row | None) -> Cell:
    """A cell of an accuracy and its interval, in percent."""
    if row is None:
        return Cell("–")
    value, low, high = (row[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return Cell(f"{words.percent(value)} ({100 * low:.1f} to {100 * high:.1f})", value)


def _stands_out(value: float, group: Sequence[float], of: Any) -> bool:
    """Whether a value is the lowest (or highest) of its group, alone."""
    return len(group) > 1 and value == of(group) and list(group).count(value) == 1
