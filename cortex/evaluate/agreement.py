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

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.tokens import read_tokens
from cortex.evaluate.estimates import Estimates, over_images, over_trainings
from cortex.explain import IMPORTANCE
from cortex.explain.concept_tokens import LISTS
from cortex.explain.rank_agreement import own_rank_correlation, rank_correlation, top_overlap
from cortex.extractors.names import by_extractor

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


@dataclass(frozen=True)
class Found:
    """What one training found.

    Args:
        scores: of the test images, float32 ``[N, P]``.
        lists: concept tokens, the first first, by the columns :data:`LIST` and the label.
    """

    scores: NDArray[np.float32]
    lists: Mapping[tuple[Any, ...], Sequence[int]]


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
    found: dict[str, dict[tuple[str], Found]] = {}
    first, lists = read_tokens(scores[:shards], [IMPORTANCE]), read_lists(tokens[0]).keys()
    for place, (attribution, word, path) in enumerate(zip(attributions, extractors, tokens, strict=True)):
        images = read_tokens(scores[place * shards : (place + 1) * shards], [IMPORTANCE], like=first)
        explained = Found(images.scores[IMPORTANCE], read_lists(path))
        if explained.lists.keys() != lists:
            raise InputError(f"{path}: not the lists and classes of {tokens[0]}")
        found.setdefault(attribution, {})[(word,)] = explained
    alone = partial(over_images, resamples=resamples, seed=seed)
    rows = [
        {"attribution": attribution, **row}
        for attribution, of_attribution in found.items()
        for row in compare_trained(of_attribution, alone)
    ]
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def compare_trained(
    found: Mapping[tuple[str], Found], alone: Callable[[NDArray[np.float64]], Estimates]
) -> list[dict[str, Any]]:
    """Rows of one attribution.

    Args:
        found: by trained extractor.
        alone: estimates of two trainings, over images or classes.
    """
    trained = {name: of_training for (name, *_), of_training in by_extractor(found).items()}
    longest = max(len(tokens) for each in found.values() for tokens in each.lists.values())
    firsts = [n for n in FIRST if n <= longest] or [longest]
    rows: list[dict[str, Any]] = []
    for name, of_training in trained.items():
        pairs = {
            pair: agree(of_training[pair[0]], of_training[pair[1]], firsts) for pair in combinations(of_training, 2)
        }
        for (one, other), agreements in pairs.items():
            rows += rows_of(agreements, alone, (name, one), (name, other))
        if pairs:
            rows += rows_of(of_all(pairs), over_trainings, (name, None), (name, None))
    for one, other in combinations(trained, 2):
        (training, mine), (other_training, theirs) = (next(iter(trained[name].items())) for name in (one, other))
        rows += rows_of(agree(mine, theirs, firsts), alone, (one, training), (other, other_training))
    return rows


def read_lists(path: Path) -> dict[tuple[Any, ...], list[int]]:
    """The lists of a file of concept tokens, as :class:`Found` has them; those that the file lacks are empty.

    They are as long as they are compared: a file of 1000 classes has some thousand tokens of each.
    """
    lists: dict[tuple[Any, ...], list[int]] = {}
    table = read_table(path, [*LIST, "label", "rank", "token"]).filter(pc.field("rank") < max(FIRST))
    for row in table.sort_by("rank").to_pylist():
        lists.setdefault((*(row[name] for name in LIST), row["label"]), []).append(row["token"])
    for kind, (_, *of) in product(LISTS, [*lists]):
        lists.setdefault((kind, *of), [])  # a class without a code that is more often important there than elsewhere
    return lists


def agree(one: Found, other: Found, firsts: Sequence[int]) -> list[Agreement]:
    """How far two trainings agree: on the positions of every image, and on the first concept tokens of every class."""
    sizes = sorted({place[LIST.index("top_n")] for place in places_of(one)})
    return [on_positions(one, other, sizes), on_tokens(one, other, firsts)]


def places_of(found: Found) -> list[tuple[Any, ...]]:
    """The columns :data:`LIST` of the lists of a class."""
    return sorted({key[:-1] for key in found.lists})


def on_positions(one: Found, other: Found, sizes: Sequence[int]) -> Agreement:
    """Correlations of the scores, and overlaps of the highest positions at some n."""
    scores = one.scores, other.scores
    measures: dict[tuple[str, int | None], NDArray[np.float64]] = {
        ("correlation", None): rank_correlation(*scores),
        ("own_correlation", None): own_rank_correlation(*scores),
        **{("overlap", n): top_overlap(*scores, n) for n in sizes},
    }
    columns = [{"measure": measure, **dict.fromkeys(LIST), "n": n} for measure, n in measures]
    return Agreement(columns, np.stack([*measures.values()]))


def on_tokens(one: Found, other: Found, firsts: Sequence[int]) -> Agreement:
    """Overlaps of the first tokens of every class, list by list: of as many as the longer of two short lists has."""
    columns, values = [], []
    for place in places_of(one):
        keys = sorted(key for key in one.lists if key[:-1] == place)
        for n in firsts:
            columns.append({"measure": "token_overlap", **dict(zip(LIST, place, strict=True)), "n": n})
            both = [({*one.lists[key][:n]}, {*other.lists[key][:n]}) for key in keys]
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
