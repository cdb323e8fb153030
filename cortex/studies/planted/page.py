"""The planted benchmark: do the explanations find what is known to mark a class?"""

from pathlib import Path

from cortex.explain import TIS
from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, groups, mean, select
from cortex.report.tables import Cell, Table, estimate, number
from cortex.report.topic import Finding, Topic
from cortex.report.words import decimal, percent

PROSE = Prose(Path(__file__).with_name("page.j2"))
LISTS = (TIS, "frequency")
SEARCHES = ("token_selection", "embedding")


def section(rows: Rows, recommended: Rows, kinds: Rows) -> Topic:
    """The section of the planted benchmark.

    Args:
        rows: its metrics.
        recommended: methods of importance, that which finds most first.
        kinds: scores of the kinds that the dictionary gives the codes.
    """
    variants = {variant: of_variant for (variant,), of_variant in groups(rows, "variant").items()}
    plain = variants.get("plain", [])
    found = [position_finding("plain", plain), others_finding(plain), code_finding("plain", plain)] if plain else []
    if "shortcut" in variants:
        found.append(shortcut_finding(variants["shortcut"]))
    found += [position_finding(name, variants[name]) for name in ("shared", "combination") if name in variants]
    return PROSE.topic(
        variants=list(variants),
        findings=[*found, search_finding(rows), reading_finding(rows)],
        tables=[
            PROSE.table("methods", methods_table(recommended), first=recommended[0]),
            PROSE.table("positions", positions_table(rows)),
            PROSE.table("codes", codes_table(rows)),
            PROSE.table("kinds", kinds_table(kinds)),
        ],
        answers={"reliability": PROSE.text("recommended", best=recommended[0], tis=select(recommended, method=TIS)[0])},
    )


def position_finding(variant: str, rows: Rows) -> Finding:
    """How many of the highest positions hold planted codes, by extractor, and of which kind."""
    best = _as_many(select(rows, what="positions", split="test", measure="precision", method=TIS))
    planted = select(best, truth="planted")
    kinds = {truth: select(best, truth=truth) for truth in ("own", "shared", "decoy")}
    return PROSE.finding(
        "at_positions",
        variant=variant,
        planted=planted,
        not_above=_not_above_chance(planted),
        kinds={truth: of_kind for truth, of_kind in kinds.items() if of_kind},
    )


def others_finding(rows: Rows) -> Finding:
    """How other attributions of the same extractors do beside the importance."""
    found = _as_many(select(rows, what="positions", split="test", measure="precision", truth="planted"))
    others: dict[str, list[Row]] = {}
    beaten = []
    for (extractor,), of_extractor in groups(found, "extractor").items():
        importance = select(of_extractor, method=TIS)[0]
        rest = [row for row in of_extractor if row is not importance]
        others[extractor] = sorted(rest, key=lambda row: -row["value"])
        if any(row["low"] > importance["high"] for row in rest):
            beaten.append(extractor)
    return PROSE.finding("other_attributions", others=others, beaten=beaten)


def code_finding(variant: str, rows: Rows) -> Finding:
    """Whether concept-level tokens and frequent tokens are the planted ones."""
    of_codes = select(rows, what="codes", truth="planted", split="validation", list="count")
    lists = _as_many(select(of_codes, measure="precision"))
    important = select(lists, method=TIS)
    recall = select(of_codes, measure="recall")
    most = max((row["n"] for row in recall), default=0)
    return PROSE.finding(
        "in_lists",
        variant=variant,
        important=important,
        frequent=select(lists, method="frequency")[0],
        not_above=_not_above_chance(important),
        most=most,
        among_most={name: select(recall, method=name, n=most) for name in LISTS} if most > important[0]["n"] else None,
    )


def shortcut_finding(rows: Rows) -> Finding:
    """What the shortcut costs in the test, and whether the explanations give it away."""
    accuracy = select(rows, what="labels")
    seen, unseen = (select(accuracy, split=split) for split in ("validation", "test"))
    first = select(rows, what="codes", truth="shortcut", measure="precision", n=1, split="validation", list="count")
    return PROSE.finding(
        "shortcut",
        accuracy=list(zip(seen, unseen, strict=True)),
        first=select(first, method=TIS),
        on_top=select(rows, what="positions", truth="shortcut", measure="precision", n=1, split="validation"),
        frequent=select(first, method="frequency")[0],
    )


def search_finding(rows: Rows) -> Finding:
    """Whether the codebook search fills its region with codes that mark the target."""
    of_codes = select(rows, what="codes", split="test", truth="planted", measure="precision")
    by_method = {method: select(of_codes, method=method) for method in SEARCHES}
    selected = by_method["token_selection"]
    return PROSE.finding(
        "searches",
        shares={method: mean(row["value"] for row in found) for method, found in by_method.items()},
        chance=mean(row["chance"] for row in selected),
        not_above=_not_above_chance(selected),
    )


def reading_finding(rows: Rows) -> Finding:
    """Which extractors read the class at all; explanations of others mean nothing."""
    accuracy = select(rows, what="labels", split="validation")
    worst = min(accuracy, key=lambda row: row["value"])
    return PROSE.finding("accuracy", worst=worst, not_above=_not_above_chance(accuracy))


def methods_table(recommended: Rows) -> Table:
    """Methods of importance by the share of planted positions that they find, that which finds most first."""
    table = Table(["method", "precision", f"difference from {TIS}", "chance", "precision, all trainings"], 1)
    for row in recommended:
        cells = [Cell("–"), Cell("–")]
        if row["precision"] is not None:
            difference = {"value": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
            cells = [
                estimate({**row, "value": row["precision"]}, best=row["low"] > row["chance"]),
                estimate(None if row["method"] == TIS else difference),
            ]
        all_trainings = Cell(decimal(row["precision_all"]), row["precision_all"])
        table.rows.append([Cell(row["method"]), *cells, number(row["chance"]), all_trainings])
    return table


def kinds_table(kinds: Rows) -> Table:
    """A variant and kind of code a row: precision and recall of the dictionary's kinds."""
    columns = ["codes", "named so", "precision", "recall", "right classes"]
    table = Table(["variant", "kind", *columns], 2)
    for row in kinds:
        shares = [
            Cell("–")
            if row[name] is None
            else estimate({**row, "value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})
            for name in ("precision", "recall")
        ]
        right = Cell("–") if row["right_classes"] is None else Cell(percent(row["right_classes"]), row["right_classes"])
        counts = [Cell(str(row[name]), row[name]) for name in ("codes", "named")]
        table.rows.append([Cell(row["variant"]), Cell(row["kind"]), *counts, *shares, right])
    return table


def positions_table(rows: Rows) -> Table:
    """A variant, extractor, method and truth a row: accuracy, precision at three n, recall at the last."""
    columns = ["accuracy", "precision, n = 1", "n = as many as planted", "recall, n = twice as many", "chance"]
    table = Table(["variant", "extractor", "method", "positions of", *columns], 4)
    found = select(rows, what="positions", split="test")
    for names, group in groups(found, "variant", "extractor", "method", "truth").items():
        precision, recall = select(group, measure="precision"), select(group, measure="recall")
        accuracy = select(rows, what="labels", split="test", variant=names[0], extractor=names[1])[0]
        cells = [_estimate(row) for row in (accuracy, precision[0], *_as_many(precision), recall[-1])]
        chances = f"{percent(precision[0]['chance'])}, {percent(recall[-1]['chance'])}"
        table.rows.append([*(Cell(name) for name in names), *cells, Cell(chances, precision[0]["chance"])])
    return table


def codes_table(rows: Rows) -> Table:
    """A variant, extractor and truth a row: lists of codes and searches."""
    methods = (*LISTS, *SEARCHES)
    table = Table(
        ["variant", "extractor", "codes", *(PROSE.text("source", name=name) for name in methods), "chance"], 3
    )
    found = [row for row in select(rows, what="codes", measure="precision") if row["list"] != "contrast"]
    for names, group in groups(found, "variant", "extractor", "truth").items():
        at = {method: _as_many(select(group, method=method))[0] for method in methods}
        cells = [_estimate(at[method]) for method in methods]
        table.rows.append([*(Cell(name) for name in names), *cells, number(at[TIS]["chance"])])
    return table


def _as_many(rows: Rows) -> list[Row]:
    """Of every group of rows that differ in n, the one whose n is the number of what is sought.

    The largest n is twice that, or all there are; a codebook search has but one, the size of its region.
    """
    names = ("variant", "extractor", "method", "what", "split", "truth", "measure")
    found = []
    for group in groups(rows, *names).values():
        ordered = sorted(group, key=lambda row: row["n"])
        half = [row for row in ordered if 2 * row["n"] == ordered[-1]["n"]]
        found.append((half or ordered[:2])[-1])
    return found


def _not_above_chance(rows: Rows) -> list[Row]:
    return [row for row in rows if row["low"] <= row["chance"]]


def _estimate(row: Row) -> Cell:
    """A share with its interval."""
    text = f"{percent(row['value'])} ({100 * row['low']:.1f} to {100 * row['high']:.1f})".replace("-", "−")
    return Cell(text, row["value"], row["low"] > row["chance"])
