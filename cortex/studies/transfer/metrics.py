"""Transfer of codebook searches: means of the readings over trainings and images, and paired comparisons."""

from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.evaluate.comparisons import claims_of, judge_claims
from cortex.evaluate.estimates import by_training
from cortex.extractors.names import by_extractor, join_name, split_name

SCHEMA = pa.schema(
    [
        ("extractor", pa.string()),
        ("training", pa.int32()),
        ("method", pa.string()),
        ("baseline", pa.string()),
        ("kind", pa.string()),
        ("reader", pa.string()),
        ("measure", pa.string()),
        ("selection", pa.string()),
        ("samples", pa.int32()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("effect_size", pa.float64()),
        ("p", pa.float64()),
        ("p_corrected", pa.float64()),
        ("verdict", pa.string()),
    ]
)
WITH_PRIOR = "token_selection_prior"  # and "_" and the prior's weight: a method's name
# Baselines of every search: random codes and another image's region. Baselines of a search with the prior, too: the
# extractor's search without the prior, and the prior's draws without the extractor.
BASELINES = ("random_codes", "pasted_region")
HALVES = ("token_selection", "drawn_region")
SEARCHES = ("token_selection", "embedding")
REFERENCES = ("random_codes", "pasted_region", "drawn_region", "real_target", "unedited")
ONCE = ("unedited", "real_target")  # one grid an image, so no best of several
# A search's readers: its own training, other trainings of its extractor, other extractors, judges, and the prior.
KINDS = ("own", "trainings", "extractors", "judges", "prior")

# Kind, reader, trained extractor as name/training (None: a reference) and method.
Read = tuple[str, str, str | None, str]
# Trained extractor, method, kind, reader (None: mean, or the own training), measure, selection.
Place = tuple[str, str, str, str | None, str, str]


def summarise(rows: pa.Table, *, seed: int, resamples: int = 2000) -> pa.Table:
    """The metrics of the readings of :func:`cortex.studies.transfer.measure.measure_transfer`.

    At ``selection`` last no choice favours a method: a search counts with its last step, and a reference, whose draws
    are exchangeable, with their mean. At best, every reader chooses the step, or the draw, of highest probability, as
    the paper's judges do.

    Args:
        rows: the readings.
        seed, resamples: of the bootstrap.
    """
    vectors = places(read_outcomes(rows))
    compared = {
        (*place, baseline): vectors[place] - vectors[other]
        for place in vectors
        for baseline in baselines_of(place[1])
        if (other := (place[0], baseline, *place[2:])) in vectors and _is_compared(place, baseline)
    }
    found = by_extractor({(*place, None): vector for place, vector in vectors.items()} | compared)
    alike: dict[tuple[str, tuple[int, ...]], list[tuple[Any, ...]]] = {}
    for place, of_training in found.items():
        alike.setdefault((place[0], tuple(of_training)), []).append(place)
    metrics, claims = [], []
    for (_, trainings), members in alike.items():
        values = {training: np.stack([found[place][training] for place in members]) for training in trainings}
        for training, estimates in by_training(values, resamples, seed).items():
            of = {"training": training, "samples": values[trainings[0]].shape[1]}
            rows_of = [of | _row(place, estimate) for place, estimate in zip(members, estimates.rows(), strict=True)]
            metrics += rows_of
            claims += claims_of([row for row in rows_of if row["baseline"]], values)
    judge_claims(claims, _family, lambda row: (row["value"] > 0) != (row["measure"] == "gap"))
    return pa.Table.from_pylist(metrics, SCHEMA)


def _row(place: tuple[Any, ...], estimate: dict[str, float | None]) -> dict[str, Any]:
    """A row of the metrics, without its training: a value, or if it has a baseline a difference that is tested."""
    names = ("extractor", "method", "kind", "reader", "measure", "selection", "baseline")
    row = dict(zip(names, place, strict=True)) | estimate | {"value": estimate["mean"]}
    return row if row["baseline"] else row | {"effect_size": None, "p": None}


def _family(row: dict[str, Any]) -> tuple[Any, ...]:
    """Claims that are corrected together: of a baseline, measure and selection; means over readers apart."""
    over_readers = row["reader"] is None and row["kind"] != "own"
    return row["baseline"], row["measure"], row["selection"], over_readers


def read_outcomes(rows: pa.Table) -> dict[Read, dict[str, NDArray[np.float64]]]:
    """By kind, reader, trained extractor and method, every measure ``[M, steps]`` of the images in one order.

    Raises:
        InputError: some method was not read at the same steps of all images.
    """
    names = ("kind", "reader", "extractor", "training", "method")
    table = rows.sort_by([(name, "ascending") for name in (*names, "key", "step")])
    groups = [
        (kind, reader, join_name(extractor, training) if extractor is not None else None, method)
        for kind, reader, extractor, training, method in zip(*(table[name].to_pylist() for name in names), strict=True)
    ]
    images = pc.count_distinct(rows["key"]).as_py()
    found, start = {}, 0
    for group, members in groupby(groups):
        count = len(list(members))
        part = table.slice(start, count)
        start += count
        if count % images or len(set(part["key"].to_pylist()[:: count // images])) != images:
            raise InputError(f"{group}: not the same images as for other methods")
        found[group] = {
            measure: np.asarray(part[measure], np.float64).reshape(images, -1)
            for measure in (("log_likelihood",) if group[0] == "prior" else ("probability", "logit"))
        }
    return found


def places(outcomes: dict[Read, dict[str, NDArray[np.float64]]]) -> dict[Place, NDArray[np.float64]]:
    """An outcome an image ``[M]`` for every extractor's methods and references, reader, measure and selection.

    A search's gap is the probability that it reaches with its own extractor beyond that with the others. The prior
    reads a class, too: the likelihood ratio says how much likelier the tokens are given the target than the source.
    """
    made = sorted({extractor for _, _, extractor, _ in outcomes if extractor is not None})
    found: dict[Place, NDArray[np.float64]] = {}
    for maker in made:
        methods = dict.fromkeys((of, method) for _, _, of, method in outcomes if of in (maker, None))
        for of, method in sorted(methods, key=lambda name: _place_of(name[1])):
            by_kind: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}
            for (kind, reader, *who), measures in outcomes.items():
                if tuple(who) == (of, method):
                    by_kind.setdefault(_beside(maker, kind, reader), {})[reader] = measures
            for kind in KINDS:
                found |= _of_kind((maker, method), kind, by_kind.get(kind, {}), search=of is not None)
            found |= _between(found, (maker, method), search=of is not None)
    return found


def _between(
    found: dict[Place, NDArray[np.float64]], name: tuple[str, str], *, search: bool
) -> dict[Place, NDArray[np.float64]]:
    """The differences between readings: the prior's likelihood ratio, and a search's gaps."""
    of_prior = (("prior", label, "log_likelihood") for label in ("target", "source"))
    wanted: list[tuple[Any, ...]] = [("prior", "log_likelihood_ratio", *of_prior)]
    if search:
        own = ("own", None, "probability")
        wanted += [(kind, "gap", own, (kind, None, "probability")) for kind in KINDS[1:-1]]
    return {
        (*name, kind, None, measure, "last"): found[(*name, *first, "last")] - found[(*name, *second, "last")]
        for kind, measure, first, second in wanted
        if (*name, *first, "last") in found and (*name, *second, "last") in found
    }


def baselines_of(method: str) -> tuple[str, ...]:
    """What a method is compared with: references with nothing."""
    if method in REFERENCES:
        return ()
    return (*BASELINES, *HALVES) if method.startswith(WITH_PRIOR) else BASELINES


def _beside(maker: str, kind: str, reader: str) -> str:
    """The kind of a reader, seen from the trained extractor that made a search."""
    if kind == "extractors" and reader == maker:
        return "own"
    return "trainings" if kind == "extractors" and split_name(reader)[0] == split_name(maker)[0] else kind


def _place_of(method: str) -> tuple[int, str]:
    """The searches come first, those with a prior by its weight, then the references."""
    order = (*SEARCHES, WITH_PRIOR, *REFERENCES)
    known = WITH_PRIOR if method.startswith(WITH_PRIOR) else method
    return (order.index(known) if known in order else 0, method)


def _of_kind(
    name: tuple[str, str], kind: str, readers: dict[str, dict[str, NDArray[np.float64]]], *, search: bool
) -> dict[Place, NDArray[np.float64]]:
    """The readers' outcomes and, of extractors and judges, their mean."""
    found: dict[Place, NDArray[np.float64]] = {}
    for measure, selection in (
        ("probability", "last"),
        ("logit", "last"),
        ("log_likelihood", "last"),
        ("probability", "best"),
    ):
        vectors: dict[str | None, NDArray[np.float64]] = {
            reader: _chosen(measures[measure], selection, search=search)
            for reader, measures in readers.items()
            if measure in measures and not (selection == "best" and name[1] in ONCE)
        }
        if vectors and kind != "prior":
            vectors[None] = np.mean(list(vectors.values()), axis=0)
        for reader, vector in vectors.items():
            # A reader's own best is of interest where it is the paper's rule, on average. The other trainings of an
            # extractor are other ones for each.
            if reader is None or (selection == "last" and kind not in ("own", "trainings")):
                found[(*name, kind, reader, measure, selection)] = vector
    return found


def _chosen(values: NDArray[np.float64], selection: str, *, search: bool) -> NDArray[np.float64]:
    """One value an image ``[M]`` of those at its steps or draws ``[M, steps]``."""
    if selection == "best":
        return values.max(1)
    return values[:, -1] if search else values.mean(1)


def _is_compared(place: Place, baseline: str) -> bool:
    """Probabilities are; and of the search that knows the prior beside the one that does not, likelihoods and gaps."""
    return place[4] == "probability" or (baseline == "token_selection" and place[4] in ("log_likelihood", "gap"))
