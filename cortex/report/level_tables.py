"""Tables of the method itself: accuracies, agreement of trainings, and the three levels of explanation."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cortex.report import words
from cortex.report.levels import BASELINES, METHOD, Comparison, gain
from cortex.report.results import averaged, claims, of_first
from cortex.report.rows import Row, Rows, distinct, groups, mean, select, tally
from cortex.report.tables import Cell, Table, number, share


def accuracy_table(rows: Rows) -> Table:
    """Top-k accuracy and its interval, an extractor, training and split a row, k in columns."""
    ks = sorted({row["k"] for row in rows})
    table = Table(["extractor", "training", "split", *(f"top-{k}" for k in ks), "images"], 3)
    for (extractor, training, split), group in groups(rows, "extractor", "training", "split").items():
        by_k = {row["k"]: row for row in group}
        cells = [_accuracy(by_k.get(k)) for k in ks]
        named = Cell("all") if training is None else number(training)
        table.rows.append([Cell(extractor), named, Cell(split), *cells, number(group[0]["samples"])])
    return table


def judges_table(histories: Mapping[str, Rows], accuracy: Rows, image_level: Rows) -> Table:
    """Judges: accuracy on held-out real images and on the run's, and the probability of these images' labels."""
    readings = groups(accuracy, "split", "k")
    headings = [f"top-{k}, {split} images" for split, k in readings]
    trained = ["epochs", "top-1, held-out real images"] if any(histories.values()) else []
    table = Table(["judge", *trained, *headings, "probability of the class, unmasked"], 1)
    for judge, history in histories.items():
        last = history[-1] if history else {"epoch": None, "held_out_top1": None}  # pretrained
        cells = [number(last["epoch"]), share(last["held_out_top1"])] if trained else []
        for group in readings.values():
            cells.append(_accuracy(next(iter(select(group, judge=judge)), None)))
        seen = next(iter(select(image_level, judge=judge)), None)
        cells.append(number(seen["probability"] - seen["probability_change"] if seen else None))
        table.rows.append([Cell(judge), *cells])
    return table


def judges_by_class_table(readings: Mapping[str, Rows], name: Callable[[int], str]) -> Table:
    """Judges by class: how many test images they classify as the class, and the class that they name most instead.

    Args:
        readings: label and predicted class of every test image, by judge.
        name: gives the name of a class.
    """
    columns = [column for judge in readings for column in (judge, f"{judge}, most frequent error")]
    table = Table(["class", *columns], 1)
    for label in sorted({row["label"] for rows in readings.values() for row in rows}):
        cells = []
        for rows in readings.values():
            named = Counter(row["predicted"] for row in rows if row["label"] == label)
            total, right = named.total(), named.pop(label, 0)
            cells.append(Cell(f"{words.rounded(right / total)} ({right} of {total})", right / total))
            wrong, times = min(named.items(), key=lambda item: (-item[1], item[0]), default=(None, 0))
            cells.append(Cell("–") if wrong is None else Cell(f"{name(wrong)} ({times})", times))
        table.rows.append([Cell(name(label)), *cells])
    return table


def image_level_table(rows: Rows) -> Table:
    """Change of the label's probability, a method a row, n in columns; best is the lowest of an extractor and judge."""
    rows = claims(of_first(rows))
    ns = sorted({row["n"] for row in rows})
    table = Table(["extractor", "judge", "method", *(f"n = {n}" for n in ns)], 3)
    for (extractor, judge), group in groups(rows, "extractor", "judge").items():
        for method, of_method in groups(group, "method").items():
            by_n = {row["n"]: row["probability_change"] for row in of_method}
            others = {n: [row["probability_change"] for row in select(group, n=n)] for n in ns}
            cells = [
                Cell(words.change(by_n[n]), by_n[n], _stands_out(by_n[n], others[n], min)) if n in by_n else Cell("–")
                for n in ns
            ]
            table.rows.append([Cell(extractor), Cell(judge), Cell(*method), *cells])
    return table


def scores_table(level: str, rows: Rows, beside: Sequence[Comparison]) -> Table:
    """Methods of importance side by side, by single trainings and averaged over them: means over judges and settings.

    Args:
        level: image_level or concept_level.
        rows: its metrics.
        beside: its comparisons with its first baseline.
    """
    baseline, method = BASELINES[level][0], METHOD[level]
    changes_by = [f"change by {name.replace('_', ' ')}" for name in (method, baseline)]
    table = Table(["method", "extractor", "scores", *changes_by, "verdicts"], 3)
    verdicts = {
        names: ", ".join(f"{verdict} {count}" for verdict, count in tally(row["verdict"] for row in of_names).items())
        for names, of_names in groups([one.row for one in beside], "attribution", "extractor").items()
    }
    single, average = (groups(part, "attribution", "extractor") for part in (claims(rows), averaged(rows)))
    methods = distinct(rows, "attribution")
    for names in sorted(single, key=lambda names: methods.index(names[0])):
        kinds = {"of single trainings": (single[names], verdicts[names])}
        kinds |= {"averaged": (average[names], "")} if names in average else {}
        for kind, (of_kind, said) in kinds.items():
            of_both = (select(of_kind, method=name) for name in (method, baseline))
            changes = [mean(row["probability_change"] for row in of_method) for of_method in of_both]
            cells = [Cell(words.change(value), value) for value in changes]
            table.rows.append([*map(Cell, names), Cell(kind), *cells, Cell(said or "–")])
    return table


def comparisons_table(beside: Sequence[Comparison], level: str) -> Table:
    """Both sides of every comparison over all images, with the difference, its interval, p-value and verdict."""
    of_level = {"image_level": ["n"], "concept_level": ["list", "area", "top_n"], "codebook_level": []}[level]
    settings = [name for name in of_level if any(_setting(one, name) is not None for one in beside)]
    if len({one.row["attribution"] for one in beside}) > 1:
        settings.insert(0, "attribution")
    sides = [METHOD[level].replace("_", " "), "its baseline"]
    columns = ["extractor", "judge", "baseline", *settings, *sides, "difference", "p, corrected", "verdict"]
    table = Table(columns, 3 + len(settings))
    for one in beside:
        difference = (
            f"{words.change(one.row['difference'])} ({words.change(one.row['low'])} to {words.change(one.row['high'])})"
        )
        table.rows.append(
            [
                *(Cell(one.row[name]) for name in ("extractor", "judge", "baseline")),
                *(_setting_cell(one, name) for name in settings),
                *(_outcome(row, level) for row in (one.method, one.baseline)),
                Cell(difference, one.row["difference"]),
                number(one.row["p_corrected"] if one.verdict else None),
                Cell(one.verdict or "–", best=one.verdict == "better"),
            ]
        )
    return table


def codebook_level_table(rows: Rows) -> Table:
    """Probabilities before and after the search; best is the larger rise of the target's of an extractor and judge."""
    names = [f"{which}_probability_{when}" for which in ("target", "source") for when in ("before", "after")]
    headings = ["target before", "target after", "change", "source before", "source after", "images"]
    table = Table(["extractor", "judge", "method", *headings], 3)
    for (extractor, judge), group in groups(claims(rows), "extractor", "judge").items():
        gains = [gain(row) for row in group]
        for row, raised in zip(group, gains, strict=True):
            before, after, source_before, source_after = (number(row[name]) for name in names)
            rise = Cell(words.change(raised), raised, _stands_out(raised, gains, max))
            cells = [before, after, rise, source_before, source_after, number(row["samples"])]
            table.rows.append([Cell(extractor), Cell(judge), Cell(row["method"]), *cells])
    return table


def agreement_table(rows: Rows, top_n: int) -> Table:
    """Agreement of two trainings of every extractor, and of two extractors, in columns; a measure a row.

    Args:
        rows: the table of agreement.
        top_n: lists of concept tokens to show.
    """
    rows = [row for row in rows if row["top_n"] in (None, top_n)]
    over_all = select(rows, training=None)
    between = [row for row in rows if row["extractor"] != row["other_extractor"]]
    pairs = {row["extractor"]: row["extractor"] for row in over_all}
    pairs |= {f"{row['extractor']} and {row['other_extractor']}": "" for row in between}
    names = ("attribution", "measure", "list", "n")
    table = Table([*names, *pairs], len(names))
    found: dict[tuple[Any, ...], dict[str, Cell]] = {}
    for row in [*over_all, *between]:
        same = row["extractor"] == row["other_extractor"]
        pair = row["extractor"] if same else f"{row['extractor']} and {row['other_extractor']}"
        cells = found.setdefault(tuple(row.get(name) for name in names), {})
        cells[pair] = Cell(words.estimate(row), row["value"])
    for place, cells in found.items():
        named = [number(_measure(value) if isinstance(value, str) else value) for value in place]
        table.rows.append([*named, *(cells.get(pair, Cell("–")) for pair in pairs)])
    return table


def _measure(name: str) -> str:
    """A measure of agreement in words."""
    return "centred correlation" if name == "own_correlation" else name.replace("_", " ")


def _setting(one: Comparison, name: str) -> Any:
    """A setting of a comparison; the column ``setting`` has n and top_n."""
    return one.row["setting"] if name in ("n", "top_n") else one.row.get(name)


def _setting_cell(one: Comparison, name: str) -> Cell:
    """The cell of a setting: an area in percent."""
    value = _setting(one, name)
    return Cell(words.rounded(value), value) if name == "area" and value is not None else number(value)


def _outcome(row: Row, level: str) -> Cell:
    """What a comparison is about: the change of the label's probability and the masked area, or the target's change."""
    if level == "codebook_level":
        return Cell(words.change(gain(row)), gain(row))
    value = row["probability_change"]
    return Cell(f"{words.change(value)} ({words.percent(row['masked_fraction'])})", value)


def _accuracy(row: Row | None) -> Cell:
    """A cell of an accuracy and its interval, in percent."""
    if row is None:
        return Cell("–")
    value, low, high = (row[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return Cell(f"{words.percent(value)} ({100 * low:.1f} to {100 * high:.1f})", value)


def _stands_out(value: float, group: Sequence[float], of: Any) -> bool:
    """Whether a value is the lowest (or highest) of its group, alone."""
    return len(group) > 1 and value == of(group) and list(group).count(value) == 1
