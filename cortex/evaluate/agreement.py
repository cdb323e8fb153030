"""Agreement: do two trainings, or two extractors, find the same tokens? (METHOD.md, section 9)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.tokens import iterate_tokens, read_tokens
from cortex.evaluate.estimates import Estimates, over_images, over_trainings
from cortex.explain import IMPORTANCE
from cortex.explain.concept_tokens import LISTS
from cortex.explain.rank_agreement import row_correlation
from cortex.explain.ranks import ranks
from cortex.extractors.names import by_extractor, join_name

SCHEMA = pa.schema(
    [
        ("attribution", pa.string()),
        ("extractor", pa.string()),
        ("training", pa.int32()),
        ("other_extractor", pa.string()),
        ("other_training", pa.int32()),
        ("measure", pa.string()),
        ("list", pa.string()),
        ("top_n", pa.int32()),
        ("n", pa.int32()),
        ("units", pa.int32()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)
FIRST = (5, 10, 20)  # concept tokens of a list that are compared, as far as lists go
LIST = ("list", "top_n")  # columns that tell the lists of a class apart
AT_ONCE = 1000  # images whose ranks are in memory at a time
Lists = Mapping[tuple[Any, ...], Sequence[int]]  # concept tokens, the first first, by the columns LIST and the label
Pair = tuple[str, str]  # trained extractors, such as cnn/0


@dataclass(frozen=True)
class Agreement:
    """Measures over the same images, or over the same classes.

    Args:
        columns: measure, those of :data:`LIST`, and n, of every measure.
        values: ``[measures, units]``, or those of every training ``[T, measures, units]``.
    """

    columns: Sequence[dict[str, Any]]
    values: NDArray[np.float64]


def measure_agreement(
    output: Path,
    *,
    attributions: list[str],
    extractors: list[str],
    scores: list[Path],
    tokens: list[Path],
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Measure how far trainings of an extractor agree, and the first trainings of two extractors, by each attribution.

    Rows of two trainings have 95 % intervals from a bootstrap (percentiles) of the images, or of the classes. Rows with
    both trainings null are means over all pairs of an extractor's trainings; their intervals cover trainings, too.

    Args:
        output: Parquet to write: attribution, extractor, training, other_extractor, other_training, measure
            (correlation of an image's scores, rank by rank; own_correlation: the same, less every position's mean rank;
            overlap: share of the n highest positions of an image that are the same; token_overlap: share of the first
            n concept tokens of a class that are the same), list and top_n (of the concept tokens), n, units (images or
            classes), value, low, high.
        attributions: attribution of every file of concept tokens.
        extractors: trained extractor of every file of concept tokens, such as cnn/0.
        scores: importance files of the test split, as many for each file of concept tokens, those of the first one
            first.
        tokens: concept-level tokens, a file for each attribution and extractor.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if len({*extractors}) < 2 or len(scores) % len(tokens) or not len(tokens) == len(extractors) == len(attributions):
        raise InputError(
            f"{len(attributions)} attributions, {len(extractors)} extractors, {len(scores)} importance files, "
            f"{len(tokens)} files of concept tokens: at least two extractors, and as many files of each are needed"
        )
    shards = len(scores) // len(tokens)
    lists: dict[str, dict[str, Lists]] = {}
    files: dict[str, dict[str, list[Path]]] = {}
    for place, (attribution, name, path) in enumerate(zip(attributions, extractors, tokens, strict=True)):
        lists.setdefault(attribution, {})[name] = read_lists(path)
        files.setdefault(attribution, {})[name] = scores[place * shards : (place + 1) * shards]
        if lists[attribution][name].keys() != lists[attributions[0]][extractors[0]].keys():
            raise InputError(f"{path}: not the lists and classes of {tokens[0]}")
    alone = partial(over_images, resamples=resamples, seed=seed)
    rows = [
        {"attribution": attribution, **row}
        for attribution, of_attribution in lists.items()
        for row in compare_trained(of_attribution, files[attribution], scores[:shards], alone)
    ]
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def compare_trained(
    lists: Mapping[str, Lists],
    files: Mapping[str, Sequence[Path]],
    first: Sequence[Path],
    alone: Callable[[NDArray[np.float64]], Estimates],
) -> list[dict[str, Any]]:
    """Rows of one attribution.

    Args:
        lists: concept tokens by trained extractor.
        files: importance files by trained extractor.
        first: importance files whose images those of all others must be.
        alone: estimates of two trainings, over images or classes.
    """
    trained = {name: [*of] for (name,), of in by_extractor({(name,): None for name in lists}).items()}
    inside = {name: [*combinations(of_training, 2)] for name, of_training in trained.items()}
    across = [((one, trained[one][0]), (other, trained[other][0])) for one, other in combinations(trained, 2)]
    within = [((name, one), (name, other)) for name, pairs in inside.items() for one, other in pairs]
    words = {pair: (join_name(*pair[0]), join_name(*pair[1])) for pair in [*within, *across]}

    longest = max(len(tokens) for of_training in lists.values() for tokens in of_training.values())
    firsts = [n for n in FIRST if n <= longest] or [longest]
    sizes = sorted({place[LIST.index("top_n")] for of_training in lists.values() for place in places_of(of_training)})
    positions = on_positions(files, first, [*words.values()], sizes)
    agreements = {
        pair: [positions[names], on_tokens(lists[names[0]], lists[names[1]], firsts)] for pair, names in words.items()
    }
    rows: list[dict[str, Any]] = []
    for name, pairs in inside.items():
        of_pairs = {(one, other): agreements[(name, one), (name, other)] for one, other in pairs}
        for (one, other), found in of_pairs.items():
            rows += rows_of(found, alone, (name, one), (name, other))
        if of_pairs:
            rows += rows_of(of_all(of_pairs), over_trainings, (name, None), (name, None))
    for one_training, other_training in across:
        rows += rows_of(agreements[one_training, other_training], alone, one_training, other_training)
    return rows


def read_lists(path: Path) -> dict[tuple[Any, ...], list[int]]:
    """The lists of a file of concept tokens by the columns :data:`LIST` and the label; missing ones are empty.

    They are as long as they are compared: a file of 1000 classes has some thousand tokens of each.
    """
    lists: dict[tuple[Any, ...], list[int]] = {}
    table = read_table(path, [*LIST, "label", "rank", "token"]).filter(pc.field("rank") < max(FIRST))
    for row in table.sort_by("rank").to_pylist():
        lists.setdefault((*(row[name] for name in LIST), row["label"]), []).append(row["token"])
    for kind, (_, *of) in product(LISTS, [*lists]):
        lists.setdefault((kind, *of), [])  # a class without a code that is more often important there than elsewhere
    return lists


def places_of(lists: Lists) -> list[tuple[Any, ...]]:
    """The columns :data:`LIST` of the lists of a class."""
    return sorted({key[:-1] for key in lists})


def on_positions(
    files: Mapping[str, Sequence[Path]], first: Sequence[Path], pairs: Sequence[Pair], sizes: Sequence[int]
) -> dict[Pair, Agreement]:
    """Correlations of the scores, and overlaps of the highest positions at some n, of pairs of trained extractors.

    Files are read twice, for the mean ranks of every position first. One shard of every extractor is in memory.

    Args:
        files: importance files by trained extractor, a file a shard.
        first: importance files whose images those of all others must be.
        pairs: trained extractors to compare.
        sizes: numbers of highest positions.

    Raises:
        InputError: files of a shard are not of the same images.
    """
    mean_ranks = {name: mean_ranks_of(paths) for name, paths in files.items()}
    values: dict[Pair, list[NDArray[np.float64]]] = {pair: [] for pair in pairs}
    for path, *of_shard in zip(first, *files.values(), strict=True):
        images = read_tokens(path, [])
        scores = [read_tokens(each, [IMPORTANCE], like=images).scores[IMPORTANCE] for each in of_shard]
        for start in range(0, len(images), AT_ONCE):
            parts = dict(zip(files, (each[start : start + AT_ONCE] for each in scores), strict=True))
            ranked = {name: stats.rankdata(part, axis=1) for name, part in parts.items()}
            own = {name: rank - mean_ranks[name] for name, rank in ranked.items()}
            highest = {name: ranks(part) for name, part in parts.items()}
            for (one, other), found in values.items():
                correlations = [row_correlation(of[one], of[other]) for of in (ranked, own)]
                overlaps = [((highest[one] < n) & (highest[other] < n)).sum(1) / n for n in sizes]
                found.append(np.stack([*correlations, *overlaps]))
    measures = [("correlation", None), ("own_correlation", None), *(("overlap", n) for n in sizes)]
    columns = [{"measure": measure, **dict.fromkeys(LIST), "n": n} for measure, n in measures]
    return {pair: Agreement(columns, np.concatenate(found, axis=1)) for pair, found in values.items()}


def mean_ranks_of(paths: Sequence[Path]) -> NDArray[np.float64]:
    """Mean rank of every position over the images of some importance files, ``[P]``; 1 is the lowest score."""
    total, count = np.zeros(()), 0
    for part in iterate_tokens(paths, [IMPORTANCE]):
        scores = part.scores[IMPORTANCE]
        for start in range(0, len(part), AT_ONCE):
            total = total + stats.rankdata(scores[start : start + AT_ONCE], axis=1).sum(0)
        count += len(part)
    return total / count


def on_tokens(one: Lists, other: Lists, firsts: Sequence[int]) -> Agreement:
    """Overlaps of the first tokens of every class, list by list: of as many as the longer of two short lists has."""
    columns, values = [], []
    for place in places_of(one):
        keys = sorted(key for key in one if key[:-1] == place)
        for n in firsts:
            columns.append({"measure": "token_overlap", **dict(zip(LIST, place, strict=True)), "n": n})
            both = [({*one[key][:n]}, {*other[key][:n]}) for key in keys]
            values.append([len(mine & theirs) / max(len(mine), len(theirs), 1) for mine, theirs in both])
    return Agreement(columns, np.array(values))


def of_all(pairs: Mapping[tuple[int, int], list[Agreement]]) -> list[Agreement]:
    """The agreements of all pairs of trainings, as values of every training."""
    return [
        Agreement(same[0].columns, pseudo_values({pair: of.values for pair, of in zip(pairs, same, strict=True)}))
        for same in zip(*pairs.values(), strict=True)
    ]


def pseudo_values(of_pair: Mapping[tuple[int, int], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Jackknife pseudo-values ``[T, C, N]`` of trainings, of values ``[C, N]`` of their pairs.

    Their mean is the mean over pairs. Pairs share trainings, so they are not independent; pseudo-values are nearly so.
    Of two trainings, there is the one value of their pair.
    """
    mean = np.mean([*of_pair.values()], axis=0)
    trainings = sorted({training for pair in of_pair for training in pair})
    if len(trainings) == 2:
        return mean[None]
    without = [np.mean([of_pair[pair] for pair in of_pair if left_out not in pair], axis=0) for left_out in trainings]
    return len(trainings) * mean - (len(trainings) - 1) * np.array(without)


def rows_of(
    agreements: Sequence[Agreement],
    estimate: Callable[[NDArray[np.float64]], Estimates],
    one: tuple[str, int | None],
    other: tuple[str, int | None],
) -> list[dict[str, Any]]:
    """Rows of two trained extractors, each with its name and training."""
    names = dict(zip(("extractor", "training", "other_extractor", "other_training"), (*one, *other), strict=True))
    rows = []
    for agreement in agreements:
        found = estimate(agreement.values).within([columns["measure"] for columns in agreement.columns])
        for columns, row in zip(agreement.columns, found.rows(), strict=True):
            rows.append({**names, **columns, **row, "units": agreement.values.shape[-1], "value": row["mean"]})
    return rows
