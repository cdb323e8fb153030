"""Explanations against ground truth: precision and recall of positions and of codes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.tokens import read_tokens
from cortex.evaluate.estimates import by_training, check_alike
from cortex.explain import IMPORTANCE, TIS
from cortex.explain.ranks import ranks
from cortex.extractors.names import by_extractor, split_name
from cortex.studies.planted.recommended import ranked_methods
from cortex.studies.planted.truth import PLANTED, Truth, read_truth

SCHEMA = pa.schema(
    [
        ("variant", pa.string()),
        ("extractor", pa.string()),
        ("training", pa.int32()),
        ("method", pa.string()),
        ("list", pa.string()),
        ("what", pa.string()),
        ("split", pa.string()),
        ("truth", pa.string()),
        ("n", pa.int32()),
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("chance", pa.float64()),
        ("units", pa.int32()),
    ]
)
EXPLAINED = ("validation", "test")
# A measure: its columns; its value for every image or class [units]; and the value of guessing.
Measure = tuple[dict[str, Any], NDArray[np.floating], float]


def measure_planted(
    output: Path,
    recommended: Path,
    data: list[Path],
    explained: list[Path],
    *,
    variants: list[str],
    extractors: list[str],
    codes: int,
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Compare the explanations of the planted benchmark with the ground truth.

    Positions: the share of an image's n highest positions that hold a planted code (precision), and the share of the
    positions with planted codes that are among them (recall); n is 1, their number, and twice that. Codes: the same for
    the first n of a class's concept-level tokens, or of its most frequent ones; and for the tokens that the codebook
    search puts into its region, where n is the region's size. All codes that mark the class are planted; where there
    are several kinds, or a shortcut, or decoys, each has rows of its own. The extractors' accuracy stands beside. 95 %
    intervals of a training are bootstrapped over images; for lists of codes over classes. Rows with training null are
    means over the extractor's trainings, too, and their intervals cover both (METHOD.md, section 9).

    Args:
        output: Parquet to write: variant, extractor, training (null: all of them), method (an attribution; frequency;
            token_selection, embedding; null: the extractor itself), list (count, contrast; null but for lists of
            codes), what (positions, codes or labels), split, truth (planted, own, shared, shortcut, decoy; null:
            labels), n, measure (precision, recall, accuracy), value, low, high, chance (the value of guessing), units
            (number of images or classes).
        recommended: Parquet to write, attributions by rank: rank (1: finds most), method, precision (share of as many
            highest positions as are planted that hold a planted code; mean over variants, test images, and trainings of
            extractors that classify the validation images better than guessing), low, high, chance, and the difference
            to tis with its interval: difference, difference_low, difference_high; null: no such training;
            precision_all (the mean over all trainings), images (of a variant), trainings (of all extractors and
            variants), left_out (of these, at chance level).
        data: the variant's folder for each of those explained, as the command plant wrote it.
        explained: folders that the command explain-planted wrote.
        variants: variant of each of these folders.
        extractors: trained extractor of each of these folders, as name/training.
        codes: codes in the codebook.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if not len(data) == len(explained) == len(variants) == len(extractors):
        raise InputError(
            f"{len(data)} folders of data, {len(explained)} explained, {len(variants)} variants, {len(extractors)} "
            "extractors: one of each is needed"
        )
    measured: dict[tuple[Any, ...], list[Measure]] = {}
    precisions: dict[tuple[Any, ...], dict[str, NDArray[np.floating]]] = {}
    chances: dict[tuple[str, str], float] = {}
    for planted, found, variant, word in zip(data, explained, variants, extractors, strict=True):
        truth = read_truth(planted)
        attributed = list(of_attributions(truth, found / "attributions.parquet"))
        precisions[word, variant] = at_planted_number(truth, attributed)
        chances[split_name(word)[0], variant] = float(truth.positions["test"][PLANTED].mean())
        lists = {TIS: found / "tokens.parquet", "frequency": planted / "frequency.parquet"}
        measured[word, variant] = [
            *of_labels(found, len(truth.codes[PLANTED])),
            *of_positions(truth, found),
            *(measure for measure in attributed if measure[0]["method"] != TIS),  # of all test images above
            *of_lists(truth, lists, codes),
            *of_search(truth, found / "search.parquet", codes),
        ]
    rows = []
    for (extractor, variant), of_training in by_extractor(measured).items():
        named = {"variant": variant, "extractor": extractor}
        rows += [named | row for row in estimates(extractor, of_training, resamples, seed)]
    learned = {
        (f"{row['extractor']}/{row['training']}", row["variant"]): row["low"] > row["chance"]
        for row in rows
        if row["what"] == "labels" and row["split"] == "validation" and row["training"] is not None
    }
    cells = by_extractor(precisions)
    read = by_extractor(learned)
    ranked = ranked_methods([*cells.values()], [read[cell] for cell in cells], [chances[cell] for cell in cells])
    write_table(recommended, ranked)
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def estimates(
    extractor: str, of_training: dict[int, list[Measure]], resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of an extractor's measures, of every training and of all; those over as many units are resampled together.

    Raises:
        InputError: the trainings do not have the same measures.
    """
    columns = {
        training: [(of, chance, len(values)) for of, values, chance in measures]
        for training, measures in of_training.items()
    }
    check_alike(extractor, columns)
    places = next(iter(columns.values()))
    for units in dict.fromkeys(count for *_, count in places):
        alike = [place for place, (*_, count) in enumerate(places) if count == units]
        values = {
            training: np.stack([measures[place][1] for place in alike]) for training, measures in of_training.items()
        }
        for training, unlimited in by_training(values, resamples, seed).items():
            found = unlimited.within([places[place][0]["measure"] for place in alike])
            for place, row in zip(alike, found.rows(), strict=True):
                of, chance, _ = places[place]
                yield {"training": training, **of, **row, "value": row["mean"], "chance": chance, "units": units}


def of_labels(found: Path, classes: int) -> Iterator[Measure]:
    """Does the extractor read the class at all?"""
    for split in EXPLAINED:
        table = read_table(found / f"{split}.parquet", ["label", "predicted"])
        right = table["label"].to_numpy() == table["predicted"].to_numpy()
        yield {"what": "labels", "split": split, "measure": "accuracy"}, right, 1 / classes


def of_positions(truth: Truth, found: Path) -> Iterator[Measure]:
    """Do the positions of highest score hold planted codes?

    Raises:
        InputError: scores are of other images than the truth.
    """
    for split in EXPLAINED:
        path = found / f"{split}.parquet"
        images = read_tokens(path, [IMPORTANCE])
        if images.keys != truth.keys[split]:
            raise InputError(f"{path}: not of the same images, in the same order, as the truth")
        for name, mask in truth.positions[split].items():
            of = {"method": TIS, "what": "positions", "split": split, "truth": name}
            yield from precision_and_recall(of, images.scores[IMPORTANCE], mask)


def of_attributions(truth: Truth, path: Path) -> Iterator[Measure]:
    """The same of several attributions, which a part of the test images have.

    Raises:
        InputError: an image is none of those of the truth.
    """
    table = read_table(path, ["key", "method", "scores"])
    number = {key: place for place, key in enumerate(truth.keys["test"])}
    if missing := set(table["key"].to_pylist()) - number.keys():
        raise InputError(f"{path}: image {min(missing)!r} is not in the truth")
    for method in pc.unique(table["method"]).to_pylist():
        part = table.filter(pc.equal(table["method"], method))
        scores = part["scores"].combine_chunks().flatten().to_numpy().reshape(len(part), -1)
        rows = [number[key] for key in part["key"].to_pylist()]
        for name, mask in truth.positions["test"].items():
            of = {"method": method, "what": "positions", "split": "test", "truth": name}
            yield from precision_and_recall(of, scores, mask[rows])


def at_planted_number(truth: Truth, attributed: list[Measure]) -> dict[str, NDArray[np.floating]]:
    """By attribution, the precision ``[N]`` of as many highest positions as hold planted codes."""
    n = truth.positions["test"][PLANTED].sum(1).max()
    wanted = {"truth": PLANTED, "measure": "precision", "n": n}
    return {of["method"]: values for of, values, _ in attributed if wanted.items() <= of.items()}


def of_lists(truth: Truth, lists: dict[str, Path], codes: int) -> Iterator[Measure]:
    """Do the first codes of every class's list mark it?"""
    for method, path in lists.items():
        table = read_table(path, ["label", "list", "rank", "token"])
        for kind in pc.unique(table["list"]).to_pylist():
            part = table.filter(pc.equal(table["list"], kind))
            # As with positions: one score a code, the higher the further up, and least for codes outside of the list.
            scores = np.full((len(truth.codes[PLANTED]), codes), -codes, np.int64)
            scores[part["label"].to_numpy(), part["token"].to_numpy()] = -part["rank"].to_numpy().astype(np.int64)
            for name, marking in truth.codes.items():
                mask = np.zeros(scores.shape, bool)
                np.put_along_axis(mask, marking, True, axis=1)
                of = {"method": method, "list": kind, "what": "codes", "split": "validation", "truth": name}
                yield from precision_and_recall(of, scores, mask)


def precision_and_recall(of: dict[str, Any], scores: NDArray[Any], mask: NDArray[np.bool_]) -> Iterator[Measure]:
    """Of the n highest of scores ``[N, P]``, how many lie in the mask ``[N, P]``; how many of the mask are among them.

    n is 1, the size of the mask, and twice that. Rows with an empty mask count for neither.
    """
    there = mask.any(1)
    rank, mask = ranks(scores[there]), mask[there]
    size = mask.sum(1)
    for n in sorted({1, int(size.max()), min(2 * int(size.max()), mask.shape[1])}):
        hits = ((rank < n) & mask).sum(1)
        yield {**of, "n": n, "measure": "precision"}, hits / n, float(mask.mean())
        yield {**of, "n": n, "measure": "recall"}, hits / size, n / mask.shape[1]


def of_search(truth: Truth, path: Path, codes: int) -> Iterator[Measure]:
    """Do the codes that the search puts into its region mark the class that it is to make of the image?"""
    table = read_table(path, ["method", "target", "tokens"])
    for method in pc.unique(table["method"]).to_pylist():
        part = table.filter(pc.equal(table["method"], method))
        region = np.array(part["tokens"].to_pylist())
        for name, marking in truth.codes.items():
            same = region[:, :, None] == marking[part["target"].to_numpy()][:, None, :]
            of = {"method": method, "what": "codes", "split": "test", "truth": name, "n": region.shape[1]}
            yield {**of, "measure": "precision"}, same.any(2).mean(1), marking.shape[1] / codes
            yield {**of, "measure": "recall"}, same.any(1).mean(1), 1 - (1 - 1 / codes) ** region.shape[1]
