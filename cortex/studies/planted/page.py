"""The planted benchmark: do the explanations find what is known to mark a class?"""

from cortex.report.findings import Finding, Row, Rows, listed, mean, percent
from cortex.report.tabular import Cell, Table, groups, number
from cortex.report.topic import Topic

LEAD = (
    "Which tokens of a generated image are right, nobody can say. So codes were planted in grids of a background that "
    "says nothing: {variants}. Extractors were trained on these, and explained as those above."
)
VARIANTS = {
    "plain": "each class has some of its own",
    "shortcut": "besides its own, one goes with it in training but stands in images of random classes in the test",
    "shared": "half of a class's codes are its neighbour's, too",
    "combination": "two codes mark a class together, and each alone stands in images of all classes",
}
POSITIONS_NOTE = (
    "Of the n highest positions of the test images, the share that holds a code of the class (and of those that do, "
    "the share found among twice as many), with 95 % intervals over images. Bold: the interval is above chance."
)
CODES_NOTE = (
    "Of the first codes of a class's list, as many as it has, the share that marks it, with 95 % intervals over "
    "classes; for the codebook search, the share of the region's tokens that mark the class aimed at, over images. "
    "Bold: the interval is above chance."
)
LISTS = {"importance": "concept-level tokens", "frequency": "the most frequent tokens"}
SEARCHES = {"token_selection": "token selection", "embedding": "embedding optimisation"}


def section(rows: Rows) -> Topic:
    """The section of the planted benchmark."""
    variants = {variant: of_variant for (variant,), of_variant in groups(rows, "variant").items()}
    plain = variants.get("plain", [])
    found = [position_finding("plain", plain), others_finding(plain), code_finding("plain", plain)] if plain else []
    if "shortcut" in variants:
        found.append(shortcut_finding(variants["shortcut"]))
    found += [position_finding(name, variants[name]) for name in ("shared", "combination") if name in variants]
    return Topic(
        title="Planted codes: explanations beside the right answer",
        link="Planted codes",
        lead=LEAD.format(variants="; ".join(f"{VARIANTS[name]} ({name})" for name in VARIANTS if name in variants)),
        findings=[*found, search_finding(rows), reading_finding(rows)],
        tables=[
            ("Positions that hold planted codes", POSITIONS_NOTE, positions_table(rows)),
            ("Codes that mark a class", CODES_NOTE, codes_table(rows)),
        ],
    )


def of(rows: Rows, **values: object) -> list[Row]:
    """The rows that have all of these values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def position_finding(variant: str, rows: Rows) -> Finding:
    """How many of the highest positions hold planted codes, by extractor, and of which kind."""
    best = _as_many(of(rows, what="positions", split="test", measure="precision", method="importance"))
    planted = of(best, truth="planted")
    headline = (
        f"On {variant} grids, {_each(planted)} of an image's most important positions, as many as are planted, hold a "
        f"planted code. Guessing finds {percent(planted[0]['chance'])}."
    )
    details = _against_chance(planted)
    for truth in ("own", "shared", "decoy"):
        if kind := of(best, truth=truth):
            what = {"own": "the class's alone", "shared": "two classes'", "decoy": "half a pair, a decoy"}[truth]
            details.append(
                f"Of as many positions as hold codes that are {what}: {_each(kind)} (guessing: "
                f"{percent(kind[0]['chance'])})."
            )
    return Finding(headline, details)


def others_finding(rows: Rows) -> Finding:
    """How other attributions of the same extractors do beside the importance."""
    found = _as_many(of(rows, what="positions", split="test", measure="precision", truth="planted"))
    shares, beaten = [], []
    for (extractor,), of_extractor in groups(found, "extractor").items():
        importance = of(of_extractor, method="importance")[0]
        others = sorted((row for row in of_extractor if row is not importance), key=lambda row: -row["value"])
        named = [f"{row['method']} {percent(row['value'])}" for row in others]
        shares.append(f"{listed(named)} ({extractor})")
        if any(row["low"] > importance["high"] for row in others):
            beaten.append(extractor)
    headline = f"Other attributions of the same logits find there: {'; '.join(shares)}."
    if beaten:
        headline += f" With {listed(beaten)}, one finds clearly more than the importance does."
    return Finding(headline)


def code_finding(variant: str, rows: Rows) -> Finding:
    """Whether concept-level tokens and frequent tokens are the planted ones."""
    lists = _as_many(of(rows, what="codes", truth="planted", measure="precision", split="validation"))
    important, frequent = of(lists, method="importance"), of(lists, method="frequency")
    headline = (
        f"On {variant} grids, {_each(important)} of the concept-level tokens mark the class, and "
        f"{percent(frequent[0]['value'])} of its most frequent tokens. Guessing finds "
        f"{percent(important[0]['chance'])}."
    )
    among_more = of(rows, what="codes", truth="planted", measure="recall", split="validation")
    most = max((row["n"] for row in among_more), default=0)
    if most > important[0]["n"]:
        found = of(among_more, method="importance", n=most)
        often = of(among_more, method="frequency", n=most)
        headline += (
            f" Among the first {most} of either list are {_each(found)} of the codes that mark the class, and "
            f"{percent(often[0]['value'])} by frequency."
        )
    return Finding(headline, _against_chance(important))


def shortcut_finding(rows: Rows) -> Finding:
    """What the shortcut costs in the test, and whether the explanations give it away."""
    accuracy = of(rows, what="labels")
    changes = [
        f"{seen['extractor']} from {percent(seen['value'])} to {percent(unseen['value'])}"
        for seen, unseen in zip(of(accuracy, split="validation"), of(accuracy, split="test"), strict=True)
    ]
    first = of(rows, what="codes", truth="shortcut", measure="precision", n=1, split="validation")
    on_top = of(rows, what="positions", truth="shortcut", measure="precision", n=1, split="validation")
    important = of(first, method="importance")
    headline = (
        f"Where the shortcut stands in images of any class, accuracy goes {listed(changes)}. It is the first "
        f"concept-level token of {_each(important)} of the classes, and holds the most important position of "
        f"{_each(on_top)} of the images where it goes with the class (guessing: {percent(important[0]['chance'])} and "
        f"{percent(on_top[0]['chance'])})."
    )
    frequent = of(first, method="frequency")
    details = [f"It is the most frequent token of {percent(frequent[0]['value'])} of the classes."]
    return Finding(headline, details)


def search_finding(rows: Rows) -> Finding:
    """Whether the codebook search fills its region with codes that mark the target."""
    by_method = {
        method: of(rows, what="codes", split="test", truth="planted", measure="precision", method=method)
        for method in SEARCHES
    }
    shares = [
        f"{percent(mean(row['value'] for row in found))} of the tokens of {SEARCHES[method]}"
        for method, found in by_method.items()
    ]
    selected = by_method["token_selection"]
    headline = (
        f"Of what the codebook search puts into its region, {listed(shares)} mark the class aimed at, on average over "
        f"variants and extractors. Guessing finds {percent(mean(row['chance'] for row in selected))}."
    )
    return Finding(headline, _against_chance(selected, variants=True))


def reading_finding(rows: Rows) -> Finding:
    """Which extractors read the class at all; what others' explanations say means nothing."""
    accuracy = of(rows, what="labels", split="validation")
    blind = [f"{row['extractor']} ({row['variant']})" for row in accuracy if row["low"] <= row["chance"]]
    worst = min(accuracy, key=lambda row: row["value"])
    headline = (
        "Where the extractor itself cannot read the class, its explanations cannot be right: on new images drawn as "
        f"those of training, the least accurate, {worst['extractor']} on {worst['variant']} grids, is right in "
        f"{percent(worst['value'])} (guessing: {percent(worst['chance'])})."
    )
    return Finding(headline, [f"No better than guessing: {listed(blind)}."] if blind else [])


def positions_table(rows: Rows) -> Table:
    """A variant, extractor, method and truth a row: accuracy, precision at three n, recall at the last."""
    columns = ["accuracy", "precision, n = 1", "n = as many as planted", "recall, n = twice as many", "chance"]
    table = Table(["variant", "extractor", "method", "positions of", *columns], 4)
    found = of(rows, what="positions", split="test")
    for names, group in groups(found, "variant", "extractor", "method", "truth").items():
        precision, recall = of(group, measure="precision"), of(group, measure="recall")
        accuracy = of(rows, what="labels", split="test", variant=names[0], extractor=names[1])[0]
        cells = [_estimate(row) for row in (accuracy, precision[0], *_as_many(precision), recall[-1])]
        chances = f"{percent(precision[0]['chance'])}, {percent(recall[-1]['chance'])}"
        table.rows.append([*(Cell(name) for name in names), *cells, Cell(chances, precision[0]["chance"])])
    return table


def codes_table(rows: Rows) -> Table:
    """A variant, extractor and truth a row: lists of codes and searches."""
    methods = {**LISTS, **SEARCHES}
    table = Table(["variant", "extractor", "codes", *methods.values(), "chance"], 3)
    found = of(rows, what="codes", measure="precision")
    for names, group in groups(found, "variant", "extractor", "truth").items():
        at = {method: _as_many(of(group, method=method))[0] for method in methods}
        cells = [_estimate(at[method]) for method in methods]
        table.rows.append([*(Cell(name) for name in names), *cells, number(at["importance"]["chance"])])
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


def _each(rows: Rows) -> str:
    """Values by extractor, like "31.0 % (cnn), 28.5 % (resnet)"."""
    return listed([f"{percent(row['value'])} ({row['extractor']})" for row in rows])


def _against_chance(rows: Rows, variants: bool = False) -> list[str]:
    """Sentences that name who is not above chance, if some or all are not."""
    names = [
        f"{row['extractor']} on {row['variant']} grids" if variants else row["extractor"]
        for row in rows
        if row["low"] <= row["chance"]
    ]
    return [f"Not above chance: {listed(names)}."] if names else []


def _estimate(row: Row) -> Cell:
    """A share with its interval."""
    text = f"{percent(row['value'])} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
    return Cell(text, row["value"], row["low"] > row["chance"])
