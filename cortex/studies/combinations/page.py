"""Combinations: what are tokens worth together?"""

from cortex.report.estimates import cell, estimate
from cortex.report.findings import Finding, Row, Rows, listed
from cortex.report.tabular import Cell, Table, groups, number
from cortex.report.topic import Topic

LEAD = (
    "A gradient says what a small change of one token would do to the label's logit; here tokens of {images:,} test "
    "images are removed and the extractor is asked (in their place stands the mean of the codebook's vectors). "
    "Positions are chosen by their importance; by what removing each alone costs (single); by their Shapley values, "
    "what removing each costs on average after others, over random orders; greedily, each the costliest after those "
    "before it; and at random."
)
COST_NOTE = (
    "Logits of the label, means over images with their 95 % intervals. Together: removing n positions at once; alone: "
    "the sum of what removing each of them costs; interaction: together less alone, above 0 where they matter more "
    "together; beyond random: together less what n random positions cost."
)
RANK_NOTE = (
    "Spearman's rank correlation with the Shapley values over an image's positions, means over images with their 95 % "
    "intervals. That of the Shapley values is between two halves of the orders: how well they are known."
)
COSTS = ("together", "alone", "interaction", "beyond_random")
Costs = dict[tuple[str, str, str, int], Row]  # by extractor, measure, method and n


def section(rows: Rows) -> Topic:
    """The section of what removing tokens costs."""
    ranked = [row for row in rows if row["measure"] == "correlation"]
    costs: Costs = {
        (row["extractor"], row["measure"], row["method"], row["n"]): row for row in rows if row["n"] is not None
    }
    return Topic(
        title="What are tokens worth together?",
        link="Combinations",
        lead=LEAD.format(images=rows[0]["images"]),
        findings=[agreement(ranked), removal(costs), interaction(costs)],
        tables=[
            ("What removing positions costs", COST_NOTE, cost_table(costs)),
            ("Rankings beside the Shapley values", RANK_NOTE, rank_table(ranked)),
        ],
    )


def agreement(rows: Rows) -> Finding:
    """How far the importance ranks positions as their Shapley values do."""
    told = {
        method: [f"{estimate(row)} with {row['extractor']}" for row in of_method]
        for (method,), of_method in groups(rows, "method").items()
    }
    important = [row for row in rows if row["method"] == "importance"]
    unrelated = [row["extractor"] for row in important if row["low"] <= 0 <= row["high"]]
    against = [row["extractor"] for row in important if row["high"] < 0]
    details = [f"What removing each alone costs has {listed(told['single'])}."]
    if unrelated:
        details.append(f"Of the importance, no correlation is found with {listed(unrelated)}.")
    if against:
        details.append(f"Of the importance, it is negative with {listed(against)}.")
    return Finding(
        f"The importance's rank correlation with the positions' Shapley values is {listed(told['importance'])}; that "
        f"of two halves of the sample of orders, {listed(told['shapley'])}.",
        details,
    )


def removal(costs: Costs) -> Finding:
    """What removing the positions of highest importance costs, beside random and other ones, at the largest n."""
    n = max(n for *_, n in costs)
    told, no_more, less = [], [], []
    for extractor in _extractors(costs):
        cost = {method: costs[extractor, "together", method, n] for method in _methods(costs)}
        others = (f"{method} {estimate(row)}" for method, row in cost.items() if method != "importance")
        told.append(f"{estimate(cost['importance'])} logits with {extractor}; {', '.join(others)}")
        beyond = costs[extractor, "beyond_random", "importance", n]
        if beyond["high"] < 0:
            less.append(extractor)
        elif beyond["low"] <= 0:
            no_more.append(extractor)
    details = [f"No difference to random positions found: {listed(no_more)}."] if no_more else []
    details += [f"Less than random positions: {listed(less)}."] if less else []
    headline = f"Removing the {n} positions of highest importance costs "
    return Finding(f"{headline}{'. It costs '.join(told)}.", details)


def interaction(costs: Costs) -> Finding:
    """Where the positions of highest importance matter more, or less, together than one by one."""
    more: list[str] = []
    less: list[str] = []
    rest: list[str] = []
    for (extractor, measure, method, n), row in costs.items():
        if (measure, method) == ("interaction", "importance"):
            sort = more if row["low"] > 0 else less if row["high"] < 0 else rest
            sort.append(f"{extractor} at n = {n}, {estimate(row)}")
    parts = [
        f"{words}: {'; '.join(places)}"
        for words, places in (
            ("more", more),
            ("less", less),
            ("no difference found", rest),
        )
        if places
    ]
    return Finding(
        "Removed together, the positions of highest importance cost, compared with the sum of each alone (logits), "
        f"{'. '.join(part if place == 0 else part.capitalize() for place, part in enumerate(parts))}."
    )


def cost_table(costs: Costs) -> Table:
    """An extractor, method and n a row, the costs in columns."""
    table = Table(["extractor", "method", "n", *(measure.replace("_", " ") for measure in COSTS)], 2)
    for extractor in _extractors(costs):
        for method in _methods(costs):
            for n in sorted({n for *_, n in costs}):
                cells = [cell(costs.get((extractor, measure, method, n))) for measure in COSTS]
                table.rows.append([Cell(extractor), Cell(method), number(n), *cells])
    return table


def rank_table(rows: Rows) -> Table:
    """An extractor a row, what ranks the positions in columns."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    table = Table(["extractor", *methods], 1)
    for (extractor,), group in groups(rows, "extractor").items():
        at = {row["method"]: row for row in group}
        table.rows.append([Cell(extractor), *(cell(at[method]) for method in methods)])
    return table


def _extractors(costs: Costs) -> list[str]:
    return list(dict.fromkeys(extractor for extractor, *_ in costs))


def _methods(costs: Costs) -> list[str]:
    return list(dict.fromkeys(method for _, _, method, _ in costs))
