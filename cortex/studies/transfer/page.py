"""Concept or adversary: which codebook searches carry over to those that they were not made with."""

from collections.abc import Sequence
from typing import Any

from cortex.report.findings import Finding, Row, Rows, change, listed, mean
from cortex.report.tabular import Cell, Table, number
from cortex.report.topic import Topic
from cortex.studies.transfer.metrics import WITH_PRIOR

SEARCHES = {
    "token_selection": "token selection",
    "embedding": "embedding optimisation",
}
REFERENCES = {
    "random_codes": "random codes",
    "pasted_region": "region of another image of the target class",
    "drawn_region": "region drawn by the generator",
    "real_target": "another image of the target class",
    "unedited": "unedited image",
}
OTHERS = {"extractors": "the other extractors", "judges": "the judges"}
NOT_MADE_WITH = ("extractors", "judges")
CHANCE = "random_codes"


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
        self.makers = list(dict.fromkeys(row["extractor"] for row in rows))
        self.methods = [method for method in dict.fromkeys(row["method"] for row in rows) if method not in REFERENCES]
        self.names = {method: search_name(method) for method in self.methods} | REFERENCES
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

    def searched(self, method: str) -> bool:
        """Whether any extractor's rows have the method."""
        return bool(self.all(method, "own"))

    def verdict(self, maker: str, method: str, kind: str, baseline: str = CHANCE) -> str:
        """Better, worse or no difference found than a baseline; nothing if it was not compared."""
        row = self.at(maker, method, kind, baseline=baseline)
        return row["verdict"] if row is not None else ""


def section(rows: Rows) -> Topic:
    """The section of metrics/search.parquet."""
    metrics = Metrics(rows)
    findings = [carried(metrics), *gaps(metrics), *without_search(metrics), *likelihood(metrics), *prior(metrics)]
    return Topic(
        title="Codebook searches: concept or adversary?",
        link="Search controls",
        lead=(
            "A search pleases the extractor that it was made with. Here, others read what it found, at its last step, "
            f"which no reader chose: {listed(readers(metrics))}. Beside it stand regions that took no search. A search "
            "carries over if it raises the target's probability more than random codes do, as "
            f"{listed([OTHERS[kind] for kind in metrics.kinds])} read it."
        ),
        findings=findings,
        tables=[
            (
                "Who reads the target",
                "Probability of the target, mean over images and readers, with its 95 % interval; in the last step or, "
                "of references, on average over draws; best: the highest of the steps or draws that each judge saw, as "
                "the paper has it. Log-likelihood: of the region's tokens (of references, the last draw's), given the "
                "target and what precedes, in nats a token.",
                values_table(metrics),
            ),
            (
                "Compared",
                "Difference of the target's probability (and of likelihood, and of the gap between the own extractor's "
                "reading and the others'), method minus baseline, paired over images; p is Holm's. A smaller gap is "
                "better.",
                compared_table(metrics),
            ),
        ],
    )


def readers(metrics: Metrics) -> list[str]:
    """Who reads what a search found, beside the extractor that it was made with."""
    prior = any(place[3] == "prior" for place in metrics.row)
    return [OTHERS[kind] for kind in metrics.kinds] + (["the generator's prior"] if prior else [])


def standing(metrics: Metrics, maker: str, method: str) -> str:
    """Whether a search carries over, in words."""
    verdicts = {kind: metrics.verdict(maker, method, kind) for kind in metrics.kinds}
    to = [kind for kind, verdict in verdicts.items() if verdict == "better"]
    if to and to == metrics.kinds:
        return "carries over"
    if to:
        return f"carries over to {listed([OTHERS[kind] for kind in to])} only"
    if metrics.verdict(maker, method, "own") == "better":
        return "pleases its own extractor only"
    if worse := [OTHERS[kind] for kind, verdict in verdicts.items() if verdict == "worse"]:
        return f"worse than random codes to {listed(worse)}"
    return "no better than random codes to anybody"


def carried(metrics: Metrics) -> Finding:
    """How many searches carry over, and which do not."""
    of: dict[str, list[str]] = {}
    for maker, method in metrics.searches:
        of.setdefault(standing(metrics, maker, method), []).append(f"{metrics.names[method]} with {maker}")
    over, others = len(of.pop("carries over", [])), listed([OTHERS[kind] for kind in metrics.kinds])
    pasted = sum(
        all(metrics.verdict(maker, method, kind, "pasted_region") == "better" for kind in metrics.kinds)
        for maker, method in metrics.searches
    )
    return Finding(
        f"Of {len(metrics.searches)} codebook searches, {over} {'carries' if over == 1 else 'carry'} over to {others}: "
        f"more than random codes do. {pasted} {'does' if pasted == 1 else 'do'} so more than the region of another "
        "image of the target class does, which takes no search.",
        [f"{words.capitalize()}: {listed(names)}." for words, names in of.items()],
    )


def gaps(metrics: Metrics) -> list[Finding]:
    """How much more a search pleases its own extractor than others."""
    sentences = []
    for method in metrics.methods:
        read = [f"{metrics.average(method, kind):.2f} as {OTHERS[kind]} do" for kind in metrics.kinds]
        sentences.append(f"{metrics.names[method]} {metrics.average(method, 'own'):.2f}, against {listed(read)}")
    if not sentences or not metrics.kinds:
        return []
    return [
        Finding(
            "As its own extractor reads it, the target's probability after the search is, on average over extractors: "
            f"{'; '.join(sentences)}."
        )
    ]


def without_search(metrics: Metrics) -> list[Finding]:
    """What regions that took no search reach, and whether searches do better."""
    if "judges" not in metrics.kinds:
        return []
    references = filter(metrics.searched, ("pasted_region", "drawn_region", CHANCE))
    reached = [f"{REFERENCES[method]} {metrics.average(method, 'judges'):.2f}" for method in references]
    details = []
    for method in metrics.methods:
        score = against(metrics, method, "pasted_region")
        details.append(f"{metrics.names[method].capitalize()}, against the {REFERENCES['pasted_region']}: {score}.")
    best = [
        f"{words} {metrics.average(method, 'judges', selection='best'):.2f}"
        for method, words in metrics.names.items()
        if metrics.all(method, "judges", selection="best")
    ]
    gain = " That choice lifts what takes no search further than any search." if gains_most(metrics) else ""
    details.append(f"By the best of the recorded steps, or of as many draws, for each judge: {'; '.join(best)}.{gain}")
    return [Finding(f"What takes no search, as the judges read the target: {'; '.join(reached)}.", details)]


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

    chance, searches = lift(list(REFERENCES)), lift(metrics.methods)
    return bool(chance and searches) and min(chance) > max(searches)


def likelihood(metrics: Metrics) -> list[Finding]:
    """How likely the tokens found are to the generator, beside those of real samples and random ones."""
    of: dict[str, Any] = {"reader": "target", "measure": "log_likelihood"}
    found = [
        f"{words} {number(metrics.average(method, 'prior', **of)).text}"
        for method, words in metrics.names.items()
        if metrics.all(method, "prior", **of)
    ]
    ratios = [
        f"{words} {change(metrics.average(method, 'prior', measure='log_likelihood_ratio'))}"
        for method, words in metrics.names.items()
        if metrics.all(method, "prior", measure="log_likelihood_ratio")
    ]
    if not found:
        return [Finding("The generator has no prior: how likely the tokens are to it is not known.")]
    return [
        Finding(
            "Log-likelihood of the region's tokens under the generator's prior, given the target, in nats a token: "
            f"{'; '.join(found)}.",
            [
                "How much likelier they are given the target than given the source, which is how the generator reads "
                f"the class: {'; '.join(ratios)}."
            ],
        )
    ]


def prior(metrics: Metrics) -> list[Finding]:
    """Whether searches that stay likely transfer better than the one that does not, and than the prior alone."""
    found = []
    for method in metrics.methods if metrics.kinds else ():
        if method.startswith(WITH_PRIOR):
            score, gap, drawn = (
                against(metrics, method, *what)
                for what in (("token_selection",), ("token_selection", "gap"), ("drawn_region",))
            )
            found.append(
                Finding(
                    f"{metrics.names[method].capitalize()}, against token selection: {score}.",
                    [
                        f"The gap between what its own extractor and others read, smaller being better: {gap}.",
                        f"Against what the generator draws there without an extractor: {drawn}.",
                    ],
                )
            )
    return found


def against(metrics: Metrics, method: str, baseline: str, measure: str = "probability") -> str:
    """How often a method is better than a baseline, as the others and as the judges read it, and by how much."""
    parts = []
    for kind in metrics.kinds:
        if met := metrics.all(method, kind, baseline=baseline, measure=measure):
            difference = change(mean(row["value"] for row in met))
            score = tally([row["verdict"] for row in met])
            parts.append(f"as {OTHERS[kind]} read it, {score} (mean difference {difference})")
    return "; ".join(parts) or "not compared"


def values_table(metrics: Metrics) -> Table:
    """The means, a method a row, a block of rows an extractor."""
    headings = ["its own extractor", *(OTHERS[kind] for kind in metrics.kinds), "the judges, best", "log-likelihood"]
    table = Table(["extractor", "method", *headings, "verdict"], 2)
    for maker in metrics.makers:
        for method, words in metrics.names.items():
            if not metrics.has(maker, method):
                continue
            cells = [
                metrics.at(maker, method, "own"),
                *(metrics.at(maker, method, kind) for kind in metrics.kinds),
                metrics.at(maker, method, "judges", selection="best"),
                metrics.at(maker, method, "prior", reader="target", measure="log_likelihood"),
            ]
            verdict = standing(metrics, maker, method) if method in metrics.methods else "–"
            table.rows.append([Cell(maker), Cell(words), *map(interval, cells), Cell(verdict)])
    return table


def compared_table(metrics: Metrics) -> Table:
    """Differences from the baselines, as those read them that the search was not made with."""
    columns = ["extractor", "method", "baseline", "read by", "of", "difference", "95 % interval", "p", "verdict"]
    table = Table(columns, 5)
    for row in metrics.row.values():
        if row["baseline"] is not None and row["selection"] == "last" and row["kind"] != "own":
            by = OTHERS.get(row["kind"], f"the prior, given the {row['reader']}")
            method, baseline = metrics.names[row["method"]], metrics.names[row["baseline"]]
            names = [row["extractor"], method, baseline, by, row["measure"].replace("_", "-")]
            reach = f"{number(row['low']).text} to {number(row['high']).text}"
            values = [number(row["value"]), Cell(reach), number(row["p_corrected"]), Cell(row["verdict"])]
            table.rows.append([*map(Cell, names), *values])
    return table


def interval(row: Row | None) -> Cell:
    """A mean with its interval."""
    if row is None:
        return Cell("–")
    return Cell(f"{number(row['value']).text} [{number(row['low']).text}, {number(row['high']).text}]", row["value"])


def tally(verdicts: Sequence[str]) -> str:
    """How often which verdict was given, like "better in 2 of 3, no difference found in 1 of 3"."""
    counted = [(words, verdicts.count(words)) for words in ("better", "worse", "no difference found")]
    every = "all " if len(verdicts) > 1 else ""
    given = [f"{words} in {every if count == len(verdicts) else ''}{count}" for words, count in counted if count]
    return f"{', '.join(given)} of {len(verdicts)}" if len(given) > 1 else given[0]


def search_name(method: str) -> str:
    """A method in words."""
    if method.startswith(WITH_PRIOR):
        return f"token selection with {method.removeprefix(WITH_PRIOR + '_')} × the prior"
    return SEARCHES.get(method, method)
