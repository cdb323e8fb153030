"""Concept or adversary: which codebook searches transfer to readers that they were not made with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cortex.report import words
from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, distinct, mean, tally
from cortex.report.tables import Cell, Table, number
from cortex.report.topic import Finding, Topic
from cortex.studies.transfer.metrics import REFERENCES, WITH_PRIOR

PROSE = Prose(Path(__file__).with_name("page.j2"))
NOT_MADE_WITH = ("extractors", "judges")
CHANCE = "random_codes"
WITHOUT_SEARCH = (CHANCE, "pasted_region", "drawn_region")


class Metrics:
    """The rows by what they are of."""

    def __init__(self, rows: Rows):
        self.row = {
            (
                row["extractor"],
                row["method"],
                row["baseline"],
                row["kind"],
                row["reader"] if row["kind"] == "prior" else None,
                row["measure"],
                row["selection"],
            ): row
            for row in rows
            if row["reader"] is None or row["kind"] in ("own", "prior")
        }
        self.makers = distinct(rows, "extractor")
        self.methods = [method for method in distinct(rows, "method") if method not in REFERENCES]
        self.names = {method: PROSE.text("method", name=method) for method in (*self.methods, *REFERENCES)}
        self.searches = [(maker, method) for maker in self.makers for method in self.methods if self.has(maker, method)]
        self.kinds = [kind for kind in NOT_MADE_WITH if any(place[3] == kind for place in self.row)]

    def has(self, maker: str, method: str) -> bool:
        """Whether a method was read as that extractor's block has it."""
        return self.at(maker, method, "own") is not None

    def at(
        self,
        maker: str,
        method: str,
        kind: str,
        *,
        baseline: str | None = None,
        reader: str | None = None,
        measure: str = "probability",
        selection: str = "last",
    ) -> Row | None:
        """A row of the mean over a kind's readers, of the own extractor, or of the prior given the reader's class."""
        return self.row.get((maker, method, baseline, kind, reader, measure, selection))

    def all(self, method: str, kind: str, **which: Any) -> list[Row]:
        """A method's rows, of all extractors that it has one for; ``which`` as :meth:`at` has it."""
        return [row for maker in self.makers if (row := self.at(maker, method, kind, **which)) is not None]

    def average(self, method: str, kind: str, **which: Any) -> float:
        """Their mean value."""
        return mean(row["value"] for row in self.all(method, kind, **which))

    def averages(self, kind: str, **which: Any) -> dict[str, float]:
        """Mean values by the methods' names in words, of the methods that have rows."""
        methods = [method for method in self.names if self.all(method, kind, **which)]
        return {self.names[method]: self.average(method, kind, **which) for method in methods}

    def verdict(self, maker: str, method: str, kind: str, baseline: str = CHANCE) -> str | None:
        """Better, worse or no difference found than a baseline; None if it was not compared, or has one training."""
        row = self.at(maker, method, kind, baseline=baseline)
        return row["verdict"] if row is not None else None


def section(rows: Rows) -> Topic:
    """The section of the metrics of the transfer of searches."""
    metrics = Metrics(rows)
    return PROSE.topic(
        kinds=metrics.kinds,
        prior=any(place[3] == "prior" for place in metrics.row),
        findings=[
            transferred(metrics),
            *gaps(metrics),
            *without_search(metrics),
            likelihood(metrics),
            *prior(metrics),
        ],
        tables=[
            PROSE.table("values", values_table(metrics)),
            PROSE.table("compared", compared_table(metrics)),
        ],
        answers=control(metrics),
    )


def control(metrics: Metrics) -> dict[str, str]:
    """What the judges read without a search, by the same choice of the best step as the answer about searches."""
    reached = metrics.averages("judges", selection="best")
    best = {name: reached[metrics.names[name]] for name in WITHOUT_SEARCH if metrics.names[name] in reached}
    if CHANCE not in best:
        return {}
    compared = [
        row["verdict"]
        for method in metrics.methods
        for row in metrics.all(method, "judges", baseline=CHANCE, selection="best")
    ]
    names = {metrics.names[name]: value for name, value in best.items()}
    return {"searches": PROSE.text("control", reached=names, verdicts=tally(compared))}


def standing(metrics: Metrics, maker: str, method: str) -> str:
    """Whether a search transfers, in words."""
    verdicts = {kind: metrics.verdict(maker, method, kind) for kind in metrics.kinds}
    to = [kind for kind, verdict in verdicts.items() if verdict == "better"]
    if to and to == metrics.kinds:
        return PROSE.text("transfers")
    if to:
        return PROSE.text("transfers_to", kinds=to)
    if metrics.verdict(maker, method, "own") == "better":
        return PROSE.text("own_only")
    if worse := [kind for kind, verdict in verdicts.items() if verdict == "worse"]:
        return PROSE.text("worse_than_random", kinds=worse)
    return PROSE.text("nowhere" if any(verdicts.values()) else "no_verdict")


def transferred(metrics: Metrics) -> Finding:
    """How many searches transfer, and which do not."""
    of: dict[str, list[str]] = {}
    for maker, method in metrics.searches:
        of.setdefault(standing(metrics, maker, method), []).append(f"{metrics.names[method]} with {maker}")
    return PROSE.finding(
        "transferred",
        searches=len(metrics.searches),
        count=len(of.pop(PROSE.text("transfers"), [])),
        kinds=metrics.kinds,
        beyond_pasted=sum(
            all(metrics.verdict(maker, method, kind, "pasted_region") == "better" for kind in metrics.kinds)
            for maker, method in metrics.searches
        ),
        others=of,
    )


def gaps(metrics: Metrics) -> list[Finding]:
    """How much higher the own extractor reads the target than others."""
    if not metrics.methods or not metrics.kinds:
        return []
    read = {
        metrics.names[method]: {kind: metrics.average(method, kind) for kind in ("own", *metrics.kinds)}
        for method in metrics.methods
    }
    return [PROSE.finding("gaps", read=read)]


def without_search(metrics: Metrics) -> list[Finding]:
    """What regions that took no search reach, and whether searches do better."""
    if "judges" not in metrics.kinds:
        return []
    references = [name for name in WITHOUT_SEARCH if metrics.all(name, "own")]
    return [
        PROSE.finding(
            "without_search",
            reached={metrics.names[name]: metrics.average(name, "judges") for name in references},
            against={metrics.names[name]: against(metrics, name, "pasted_region") for name in metrics.methods},
            best=metrics.averages("judges", selection="best"),
            gains_most=gains_most(metrics),
        )
    ]


def gains_most(metrics: Metrics) -> bool:
    """Whether the best of several draws lifts what took no search further than the best step lifts any search."""

    def lift(methods: Sequence[str]) -> list[float]:
        return [
            best["value"] - last["value"]
            for maker in metrics.makers
            for method in methods
            if (best := metrics.at(maker, method, "judges", selection="best"))
            and (last := metrics.at(maker, method, "judges"))
        ]

    chance, searches = lift(REFERENCES), lift(metrics.methods)
    return bool(chance and searches) and min(chance) > max(searches)


def likelihood(metrics: Metrics) -> Finding:
    """How likely the tokens found are to the generator, beside those of real samples and random ones."""
    return PROSE.finding(
        "likelihood",
        found=metrics.averages("prior", reader="target", measure="log_likelihood"),
        ratios=metrics.averages("prior", measure="log_likelihood_ratio"),
    )


def prior(metrics: Metrics) -> list[Finding]:
    """Whether searches that stay likely transfer better than the one that does not, and than the prior alone."""
    return [
        PROSE.finding(
            "with_prior",
            method=metrics.names[method],
            selection=against(metrics, method, "token_selection"),
            gap=against(metrics, method, "token_selection", "gap"),
            drawn=against(metrics, method, "drawn_region"),
        )
        for method in (metrics.methods if metrics.kinds else ())
        if method.startswith(WITH_PRIOR)
    ]


def against(metrics: Metrics, method: str, baseline: str, measure: str = "probability") -> list[dict[str, Any]]:
    """How often a method is better than a baseline, as each kind of reader reads it, and by how much."""
    parts = []
    for kind in metrics.kinds:
        if rows := metrics.all(method, kind, baseline=baseline, measure=measure):
            difference = mean(row["value"] for row in rows)
            parts.append({"kind": kind, "verdicts": tally(row["verdict"] for row in rows), "difference": difference})
    return parts


def values_table(metrics: Metrics) -> Table:
    """The means, a method a row, a block of rows an extractor."""
    kinds = [PROSE.text("readers", kind=kind) for kind in metrics.kinds]
    headings = ["its own extractor", *kinds, "the judges, best", "log-likelihood"]
    table = Table(["extractor", "method", "verdict", *headings], 2)
    for maker in metrics.makers:
        for method, name in metrics.names.items():
            if not metrics.has(maker, method):
                continue
            cells = [
                metrics.at(maker, method, "own"),
                *(metrics.at(maker, method, kind) for kind in metrics.kinds),
                metrics.at(maker, method, "judges", selection="best"),
                metrics.at(maker, method, "prior", reader="target", measure="log_likelihood"),
            ]
            verdict = standing(metrics, maker, method) if method in metrics.methods else "–"
            table.rows.append([Cell(maker), Cell(name), Cell(verdict), *map(interval, cells)])
    return table


def compared_table(metrics: Metrics) -> Table:
    """Differences from the baselines, as those read them that the search was not made with."""
    columns = ["extractor", "method", "baseline", "read by", "of", "difference", "95 % interval", "p", "verdict"]
    table = Table(columns, 5)
    for row in metrics.row.values():
        if row["baseline"] is not None and row["selection"] == "last" and row["kind"] != "own":
            by = PROSE.text("reader", kind=row["kind"], reader=row["reader"])
            method, baseline = metrics.names[row["method"]], metrics.names[row["baseline"]]
            names = [row["extractor"], method, baseline, by, row["measure"].replace("_", "-")]
            reach = f"{words.number(row['low'])} to {words.number(row['high'])}"
            values = [number(row["value"]), Cell(reach), number(row["p_corrected"]), number(row["verdict"])]
            table.rows.append([*map(Cell, names), *values])
    return table


def interval(row: Row | None) -> Cell:
    """A mean with its interval."""
    if row is None:
        return Cell("–")
    value, low, high = (words.number(row[name]) for name in ("value", "low", "high"))
    return Cell(f"{value} [{low}, {high}]", row["value"])
