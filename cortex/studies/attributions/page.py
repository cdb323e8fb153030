"""Other attributions beside the importance: which points best at what the judges read?"""

from collections import Counter

from cortex.report.findings import Finding, Row, Rows, change, listed, mean
from cortex.report.tabular import Cell, Table, groups
from cortex.report.topic import Topic

REFERENCE = "importance"
OVER = {"n": "n", "masked_fraction": "the masked share", "masked_brightness": "the hidden brightness"}
LEAD = (
    "The positions of {images:,} test images are scored by other attributions of the same logit, too, and masked and "
    "judged as the importance's are at the image level. Methods are ranked by the area under an image's masking curve: "
    "the change of the label's probability averaged over the masking sizes n, over the masked share of the image (for "
    "the same n, methods black out different areas), or over the hidden share of its brightness (black on black hides "
    "nothing); the lower, the better. Each is compared with the importance image by image. The methods are"
)
NOTE = (
    "Change of the label's probability, with its 95 % interval over images; in the order of rank by n. Bold: rank 1, "
    "and what is better than the importance."
)
# What is said of the importance, by the verdict of the method beside it that says it.
SAYS = {"better": "worse", "worse": "better", "no difference found": "no difference found"}
NAMES = {
    "gradient": "the importance without its noise",
    "gradient_input": "embedding times gradient, summed over channels",
    "integrated_gradients": "integrated from the mean code vector everywhere, summed over channels",
    "smoothgrad_mean": "the importance's noisy gradients, averaged over channels",
    "occlusion": "the fall of the logit when the mean code vector replaces one token",
    "random": "random positions",
}


def section(rows: Rows) -> Topic:
    """The section of the ranked attributions."""
    methods = [f"{method}: {what}" for method, what in NAMES.items() if any(row["method"] == method for row in rows)]
    by_judge = groups(rows, "judge")
    together = by_judge.pop((None,))
    by_over = groups(together, "over")
    findings = [finding(by_over[over,], what) for over, what in OVER.items()]
    findings[-1].details.extend(_what_tells_them_apart(by_over["masked_fraction",], by_over["masked_brightness",]))
    return Topic(
        title="Other attributions, judged the same way",
        link="Attributions",
        lead=f"{LEAD.format(images=rows[0]['samples'])} {'; '.join(methods)}.",
        findings=findings,
        tables=[
            ("Area under the masking curve, averaged over judges", NOTE, ranking(together, "extractor")),
            (
                "The same, judge by judge",
                NOTE,
                ranking([row for of_judge in by_judge.values() for row in of_judge], "extractor", "judge"),
            ),
        ],
    )


def finding(rows: Rows, what: str) -> Finding:
    """Where the importance stands among the methods of every extractor, and which it is better and worse than."""
    standings = []
    for (extractor,), of_extractor in groups(rows, "extractor").items():
        of_rank = {row["rank"]: row["method"] for row in of_extractor}
        place = next(rank for rank, method in of_rank.items() if method == REFERENCE)
        first = "" if place == 1 else f" (first: {of_rank[1]})"
        standings.append(f"{place} of {len(of_rank)} with {extractor}{first}")
    compared = [row for row in rows if row["verdict"] is not None]
    counts = Counter(row["verdict"] for row in compared)
    score = ", ".join(f"{says} in {counts[verdict]}" for says, verdict in SAYS.items() if counts[verdict])
    headline = (
        f"By the area under the masking curve over {what}, the importance ranks {listed(standings)}. Of "
        f"{len(compared)} comparisons with another method, it is {score}."
    )
    details = [
        f"{verdict.capitalize()}: {listed(found)}."
        for verdict, beside in SAYS.items()
        if (found := _places([row for row in compared if row["verdict"] == beside]))
    ]
    if below := _places([row for row in rows if _below_random(row, rows)]):
        details.append(f"Ranked below random positions: {listed(below)}.")
    return Finding(headline, details)


def _what_tells_them_apart(by_area: Rows, by_brightness: Rows) -> list[str]:
    """How far the first method is from random positions at equal brightness, beside how far at equal area."""
    if not any(row["method"] == "random" for row in by_area):
        return []
    leads = []
    for rows in (by_area, by_brightness):
        chance = {row["extractor"]: row["auc"] for row in rows if row["method"] == "random"}
        leads.append(mean(chance[row["extractor"]] - row["auc"] for row in rows if row["rank"] == 1))
    area, brightness = leads
    text = f"The first method is ahead of random positions by {brightness:.3f} here, and by {area:.3f} over the masked "
    text += "share (means over extractors)"
    if brightness < area / 2:
        text += ": much of what tells methods apart there is how much of what is drawn they hide"
    return [f"{text}. From the largest n on, curves are straight lines to the image that is all black, where all meet."]


def _places(rows: Rows) -> list[str]:
    """Methods with the extractors that they are meant of."""
    return [
        f"{method} ({listed([row['extractor'] for row in of_method])})"
        for (method,), of_method in groups(rows, "method").items()
    ]


def _below_random(row: Row, rows: Rows) -> bool:
    return any(
        other["method"] == "random" and other["extractor"] == row["extractor"] and other["rank"] < row["rank"]
        for other in rows
    )


def ranking(rows: Rows, *names: str) -> Table:
    """A method a row, in the order of rank by n: area, rank and verdict by what it is averaged over."""
    columns = [text for what in OVER.values() for text in (f"by {what}", "beside importance")]
    table = Table([*names, "method", *columns], len(names) + 1)
    for place, group in groups(rows, *names).items():
        at = {(row["over"], row["method"]): row for row in group}
        for method in [row["method"] for row in group if row["over"] == "n"]:
            cells = [Cell(str(name)) for name in (*place, method)]
            for over in OVER:
                row = at[over, method]
                interval = f"{change(row['auc_low'])} to {change(row['auc_high'])}"
                cells.append(
                    Cell(f"{change(row['auc'])} ({interval}), rank {row['rank']}", row["auc"], row["rank"] == 1)
                )
                cells.append(Cell(row["verdict"] or "–", best=row["verdict"] == "better"))
            table.rows.append(cells)
    return table
