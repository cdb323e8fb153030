"""Concept tokens of the shared classes: every run's own, and the overlap where runs share a codebook."""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pyarrow as pa

from cortex.compare.runs import LISTED, ComparedRun
from cortex.compare.shared import Shared
from cortex.compare.tables import REAL, TEXT, WHOLE, Row
from cortex.evaluate.agreement import FIRST, Lists, on_tokens, pseudo_values, read_lists
from cortex.evaluate.estimates import Estimates, Values, over_trainings
from cortex.evaluate.two_samples import over_pairs
from cortex.explain.concept_tokens import LISTS
from cortex.extractors.names import join_name, split_name

TOKENS = pa.schema(
    [
        ("run", TEXT),
        ("class", TEXT),
        ("attribution", TEXT),
        ("extractor", TEXT),
        ("training", WHOLE),
        ("list", TEXT),
        ("top_n", WHOLE),
        ("rank", WHOLE),
        ("token", WHOLE),
    ]
)
OVERLAP = pa.schema(
    [
        ("run", TEXT),
        ("other_run", TEXT),
        ("attribution", TEXT),
        ("extractor", TEXT),
        ("list", TEXT),
        ("top_n", WHOLE),
        ("n", WHOLE),
        ("pairs", WHOLE),
        ("classes", WHOLE),
        ("value", REAL),
        ("low", REAL),
        ("high", REAL),
    ]
)


def token_rows(shared: Shared) -> list[Row]:
    """First tokens of every list of the shared classes, by the scores that a run shows: averaged or a training's."""
    rows: list[Row] = []
    for run, attribution in product(shared.runs, shared.attributions):
        files = run.files([attribution])
        for extractor in shared.extractors:
            shown = files.shown(extractor)
            lists = lists_of(run, attribution, shown)
            named: Row = {"run": run.name, "attribution": attribution, "extractor": extractor}
            named |= {"training": split_name(shown)[1]}
            for name, label in zip(shared.classes, shared.labels(run), strict=True):
                of_class = [(place, tokens) for place, tokens in lists.items() if place[-1] == label]
                for (kind, top_n, _), tokens in of_class:
                    of = {"class": name, "list": kind, "top_n": top_n}
                    rows += [named | of | {"rank": rank, "token": token} for rank, token in enumerate(tokens[:LISTED])]
    return rows


def lists_of(run: ComparedRun, attribution: str, trained: str) -> Lists:
    """A run's lists of concept tokens by an extractor's training, or by averaged scores."""
    return read_lists(run.run.folder / "tokens" / attribution / f"{trained}.parquet")


def overlap_rows(shared: Shared) -> list[Row]:
    """How many of the first tokens of a class two trainings share: of one run, and of two runs of one codebook."""
    top_n = set.intersection(*({*run.run.settings["concept_tokens"]["top_n"]} for run in shared.runs))
    shortest = min(run.run.settings["concept_tokens"]["tokens"] for run in shared.runs)
    firsts = [n for n in FIRST if n <= shortest] or [shortest]
    rows: list[Row] = []
    for attribution, extractor in product(shared.attributions, shared.extractors if top_n else ()):
        found = {
            run.name: [
                relabelled(
                    lists_of(run, attribution, join_name(extractor, training)), shared.labels(run), sorted(top_n)
                )
                for training in run.extractors[extractor]
            ]
            for run in shared.runs
        }
        pairs = [(run, run) for run in shared.runs if len(found[run.name]) > 1]
        pairs += [pair for pair in combinations(shared.runs, 2) if pair[0].codebook == pair[1].codebook]
        for one, other in pairs:
            named = {"run": one.name, "other_run": other.name, "attribution": attribution, "extractor": extractor}
            mine, theirs = found[one.name], found[other.name]
            count = len(mine) * (len(mine) - 1) // 2 if one is other else len(mine) * len(theirs)
            estimates = within(mine, firsts) if one is other else across(mine, theirs, firsts)
            columns = on_tokens(mine[0], mine[0], firsts).columns
            bounded = estimates.within([place["measure"] for place in columns])
            for place, row in zip(columns, bounded.rows(), strict=True):
                of = {name: place[name] for name in ("list", "top_n", "n")} | {"pairs": count}
                ends = {name: row[name] for name in ("low", "high")}
                rows.append(named | of | ends | {"classes": len(shared.classes), "value": row["mean"]})
    return rows


def relabelled(lists: Lists, labels: Sequence[int], top_n: Sequence[int]) -> Lists:
    """A training's lists by the number of the shared class; a class without a token has an empty list."""
    return {
        (kind, n, number): lists.get((kind, n, label), [])
        for kind, n in product(LISTS, top_n)
        for number, label in enumerate(labels)
    }


def within(trainings: Sequence[Lists], firsts: Sequence[int]) -> Estimates:
    """Overlaps of two trainings of a run, means over pairs, classes as units."""
    pairs = combinations(range(len(trainings)), 2)
    found = {pair: on_tokens(trainings[pair[0]], trainings[pair[1]], firsts).values for pair in pairs}
    return over_trainings(pseudo_values(found))


def across(mine: Sequence[Lists], theirs: Sequence[Lists], firsts: Sequence[int]) -> Estimates:
    """Overlaps of a training of a run and one of another, means over pairs, classes as units."""
    values: Values = np.array([[on_tokens(one, other, firsts).values for other in theirs] for one in mine])
    return over_pairs(values)
