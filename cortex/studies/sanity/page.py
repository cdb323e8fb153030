"""Sanity: do the scores depend on what the extractors have learned?"""

from itertools import pairwise

from cortex.report.estimates import cell, estimate, figure
from cortex.report.findings import Finding, Row, Rows, listed, percent
from cortex.report.tabular import Cell, Table, groups, number
from cortex.report.topic import Topic

LEAD = (
    "Scores that explain what an extractor has learned must change when it forgets. So the extractors were given new "
    "weights, layer by layer from the output to the input{shuffled} (Adebayo et al., 2018), and what they then call "
    "important in {images:,} test images was correlated with the real scores (Spearman's, over the positions of an "
    "image). All saw other noise than the real scores were made with; the extractor as it is, with "
    "other noise too, shows how much correlation there can be. Strides, borders and what else treats all images alike "
    "make any two networks' scores agree: correlation of an image's own counts every position's rank less its mean "
    "rank over the images."
)
NOTE = (
    "Means over images, with their 95 % intervals. Even positions: share of the {n} highest positions of an image that "
    "stand on an even row and an even column, as a quarter of all positions do."
)
HEADINGS = {
    "correlation": "correlation with the real scores",
    "own_correlation": "the same, of an image's own",
    "even_share": "even positions",
}
WORDS = {"correlation": "in all", "own_correlation": "of an image's own"}
QUARTER = 0.25  # of all positions have an even row and an even column
OFTEN = 0.5  # of the highest positions on that quarter


Known = dict[str, dict[tuple[str, int, str], Row]]  # by extractor; by test, step and measure


def section(rows: Rows) -> Topic:
    """The section of what scores are without knowledge."""
    at: Known = {
        extractor: {(row["test"], row["step"], row["measure"]): row for row in of_extractor}
        for (extractor,), of_extractor in groups(rows, "extractor").items()
    }
    tests = {"With all weights new": {extractor: ("randomised", last_step(of)) for extractor, of in at.items()}}
    if shuffled := [extractor for extractor, of in at.items() if ("shuffled", 0, "correlation") in of]:
        tests["Trained on shuffled labels"] = dict.fromkeys(shuffled, ("shuffled", 0))
    n = next(row["n"] for row in rows if row["measure"] == "even_share")
    return Topic(
        title="Do the scores depend on what was learned?",
        link="Sanity",
        lead=LEAD.format(
            images=rows[0]["images"],
            shuffled=f", and {listed(shuffled)} trained again on shuffled labels" if shuffled else "",
        ),
        findings=[*(fall(at, places, what) for what, places in tests.items()), decisive(at), *strides(at, n)],
        tables=[
            ("Extractors that know, and that know nothing", NOTE.format(n=n), summary(at, tests)),
            ("New weights, layer by layer from the output", NOTE.format(n=n), cascade(at)),
        ],
    )


def last_step(of_extractor: dict[tuple[str, int, str], Row]) -> int:
    """The step at which all of an extractor's layers have new weights."""
    return max(step for _, step, _ in of_extractor)


def fall(at: Known, places: dict[str, tuple[str, int]], what: str) -> Finding:
    """How far the correlations fall, where they do not, and where much of them is left.

    Args:
        at: the rows.
        places: by extractor, the test and step to look at.
        what: how its headline begins.
    """
    told: dict[str, list[str]] = {"own_correlation": [], "correlation": []}
    kept, left = [], []
    for extractor, place in places.items():
        for measure, words in told.items():
            known, unknown = at[extractor]["trained", 0, measure], at[extractor][*place, measure]
            words.append(f"{figure(known['value'])} to {figure(unknown['value'])} with {extractor}")
            if unknown["high"] >= known["low"]:
                kept.append(f"{WORDS[measure]} with {extractor}")
            if measure == "correlation" and known["low"] > 0 and unknown["low"] > known["value"] / 2:
                left.append(f"{estimate(unknown)} with {extractor}")
    details = []
    if kept:
        details.append(f"Not clearly lower than with what was learned (the intervals overlap): {listed(kept)}.")
    if left:
        untrained = all(test == "randomised" for test, _ in places.values())
        details.append(
            f"More than half of the correlation needs no {'learning' if untrained else 'knowledge of the classes'}: "
            f"{listed(left)}." + (" So much of these rankings is decided by the architecture." if untrained else "")
        )
    return Finding(
        f"{what}, the scores' correlation with the real ones goes from {listed(told['correlation'])}; "
        f"{WORDS['own_correlation']}, from {listed(told['own_correlation'])}.",
        details,
    )


def decisive(at: Known) -> Finding:
    """The layer at which the correlation of an image's own falls most, and what the layers above it cost."""
    told, indifferent = [], []
    for extractor, of in at.items():
        before = [of["trained", 0, "own_correlation"]]
        before += [of["randomised", step, "own_correlation"] for step in range(1, last_step(of) + 1)]
        falls = [row["value"] - after["value"] for row, after in pairwise(before)]
        step = falls.index(max(falls)) + 1
        told.append(
            f"{before[step]['layer']} of {extractor} ({figure(before[step - 1]['value'])} to "
            f"{figure(before[step]['value'])})"
        )
        if step > 1 and before[step - 1]["low"] > 0 and before[step - 1]["value"] > before[0]["value"] / 2:
            indifferent.append(
                f"With {extractor} it is still {estimate(before[step - 1])} when all layers above that have new "
                "weights: these scores say little of what those layers have learned."
            )
    headline = f"Layer by layer from the output, the correlation of an image's own falls most at {listed(told)}."
    return Finding(headline, indifferent)


def strides(at: Known, n: int) -> list[Finding]:
    """Extractors whose highest positions stand on even rows and columns, whatever they have learned."""
    found = []
    for extractor, of in at.items():
        known, unknown = of["trained", 0, "even_share"], of["randomised", last_step(of), "even_share"]
        if known["low"] > OFTEN:
            said = (
                f"Of {extractor}'s {n} highest positions, {percent(known['value'])} stand on an even row and an even "
                f"column, as a quarter of all do; with all weights new, {percent(unknown['value'])}."
            )
            if unknown["low"] > OFTEN:
                said += " The architecture alone puts them there."
            elif unknown["high"] < known["low"] and unknown["low"] <= QUARTER:
                said += " So it has been learned."
            found.append(Finding(said))
    return found


def summary(at: Known, tests: dict[str, dict[str, tuple[str, int]]]) -> Table:
    """An extractor and what became of it a row, measures in columns."""
    table = Table(["extractor", "weights", *HEADINGS.values()], 2)
    for extractor, of in at.items():
        places = {what.lower(): place[extractor] for what, place in tests.items() if extractor in place}
        for what, place in ({"as it is": ("trained", 0)} | places).items():
            cells = [cell(of[*place, measure]) for measure in HEADINGS]
            table.rows.append([Cell(extractor), Cell(what), *cells])
    return table


def cascade(at: Known) -> Table:
    """A layer a row, in the order in which they are given new weights."""
    table = Table(["extractor", "layers", "up to", *HEADINGS.values()], 3)
    for extractor, of in at.items():
        for step in range(1, last_step(of) + 1):
            cells = [cell(of["randomised", step, measure]) for measure in HEADINGS]
            layer = of["randomised", step, "correlation"]["layer"]
            table.rows.append([Cell(extractor), number(step), Cell(layer), *cells])
    return table
