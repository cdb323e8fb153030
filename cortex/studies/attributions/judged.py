"""Attributions ranked by the area under their deletion curves: the lower, the better they find what judges read."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from cortex.core.device import choose_device
from cortex.core.errors import InputError, quoted
from cortex.core.tables import read_table, write_table
from cortex.data.decoded import decoded_rows
from cortex.data.tokens import read_tokens
from cortex.evaluate.comparisons import claims_of, judge_claims
from cortex.evaluate.estimates import by_training, check_alike
from cortex.evaluate.image_level import SCHEMA as ROWS
from cortex.evaluate.masking import MEASURES, code_ranks, judge_masks
from cortex.explain import TIS
from cortex.explain.ranks import ranks
from cortex.extractors.names import by_extractor
from cortex.judges.judge import load_judge

FULL_MASK = "full_mask"  # method of images that are all black, where all curves end
CURVE_AXES = ("n", "masked_fraction", "masked_brightness")
Areas = dict[str, NDArray[np.float64]]  # by curve axis, the area under every image's curve, [methods, images]
SCHEMA = pa.schema(
    [
        ("extractor", pa.string()),
        ("training", pa.int32()),
        ("judge", pa.string()),
        ("curve_axis", pa.string()),
        ("method", pa.string()),
        ("rank", pa.int32()),
        ("samples", pa.int32()),
        ("auc", pa.float64()),
        ("auc_low", pa.float64()),
        ("auc_high", pa.float64()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("effect_size", pa.float64()),
        ("p", pa.float64()),
        ("p_corrected", pa.float64()),
        ("verdict", pa.string()),
    ]
)


def judge_attributions(
    output: Path,
    scores: Path,
    tokens: list[Path],
    images: list[Path],
    judge: Path,
    *,
    codes: int,
    n: list[int],
    batch: int = 100,
    device: str = "auto",
) -> None:
    """Measure how a judge's probability of the label changes when the positions of highest score are painted black.

    The masks cover the codes at the n positions of highest score, wherever they stand, as at the image level; and once
    every position, as method `full_mask`.

    Args:
        output: Parquet to write, a row an image, method and n, with the image level's columns.
        scores: scores of the attributions.
        tokens: token tables of the test split.
        images: decoded images of the test split, an .npy for each of the token tables.
        judge: weights of a judge.
        codes: codes in the codebook.
        n: positions whose codes are masked; a result for each.
        batch: images that the judge sees at once.
        device: auto, cpu, cuda or cuda:N.
    """
    methods, keys, of_method = read_attributions(scores)
    test = read_tokens(tokens, codes=codes)
    rows = test.rows_of(keys)
    chosen = test.take(rows)
    if of_method.shape[1:] != chosen.tokens.shape:
        raise InputError(
            f"{scores}: {of_method.shape[2]} scores an image, the grids have {chosen.tokens.shape[1]} positions"
        )
    sizes, fine = np.array(n)[:, None, None], chosen.layout.maskable
    masks = np.zeros((len(of_method) * len(n) + 1, *chosen.tokens.shape), bool)
    masks[-1] = True
    masks[:-1, :, fine] = np.concatenate(
        [code_ranks(chosen.tokens[:, fine], ranks(values[:, fine]), codes) < sizes for values in of_method]
    )
    verdict = judge_masks(
        load_judge(judge, choose_device(device)),
        decoded_rows(test, images, rows),
        chosen.labels,
        masks,
        chosen.layout,
        batch,
    )
    curves = [(method, count) for method in methods for count in n] + [(FULL_MASK, chosen.tokens.shape[1])]
    table = pa.table(
        {
            "key": keys * len(curves),
            "label": np.tile(chosen.labels, len(curves)),
            "method": np.repeat([method for method, _ in curves], len(keys)),
            "n": np.repeat([count for _, count in curves], len(keys)),
            **{measure: getattr(verdict, measure).ravel() for measure in MEASURES},
        }
    )
    write_table(output, table.cast(ROWS))


def read_attributions(path: Path) -> tuple[list[str], list[str], NDArray[np.float32]]:
    """Methods M and keys N of a file of attributions, and the scores float32 ``[M, N, P]``.

    Raises:
        InputError: the file is missing or damaged, or a method lacks an image.
    """
    table = read_table(path, ["key", "method", "scores"])
    methods = list(dict.fromkeys(table["method"].to_pylist()))
    keys = list(dict.fromkeys(table["key"].to_pylist()))
    if table["key"].to_pylist() != keys * len(methods):
        raise InputError(f"{path}: not the same images, in the same order, for every method")
    flat: NDArray[np.float32] = table["scores"].combine_chunks().flatten().to_numpy()
    return methods, keys, flat.reshape(len(methods), len(keys), -1)


def rank_attributions(
    output: Path,
    tables: list[Path],
    *,
    extractors: list[str],
    judges: list[str],
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Rank the attributions of every extractor by the area under their deletion curves, and compare each with TIS.

    An image's curve is the change of the label's probability, masked minus unmasked, from 0 where nothing is masked
    on; straight between its points. Its area is the change averaged over

    - `n`: the masking sizes from 0 to the largest, each divided by that;
    - `masked_fraction`: the share of the image's positions that is masked, from 0 to 1, where all is black. For
      the same n, methods black out different areas: here they meet at equal area;
    - `masked_brightness`: the share of the image's brightness that is hidden, from 0 to 1: black on black hides
      nothing.

    A lower area is a better method. Rows of a training have 95 % intervals from a bootstrap of the images (percentiles)
    and paired t-tests of the difference to tis (the method's area minus its). Rows with training null are claims about
    an extractor: means, intervals and tests over its trainings and images (METHOD.md, section 9). Claims have a p that
    is corrected (Holm, 1979) for their number at a `curve_axis`. Claims by single judges are corrected apart from
    claims by all judges. The verdict compares the method with tis: better, worse or "no difference
    found". An extractor with one training has none.

    Args:
        output: Parquet to write: extractor, training (null: all of them), judge (null: each image's mean over judges),
            curve_axis, method, rank (1: the lowest area), samples (images), auc, auc_low, auc_high, and, null for tis
            itself, difference, difference_low, difference_high, effect_size, p, p_corrected, verdict.
        tables: judged attributions, a file for each extractor and judge.
        extractors: trained extractor of every file, as name/training.
        judges: judge of every file.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if not len(tables) == len(extractors) == len(judges):
        raise InputError(f"{len(tables)} files, {len(extractors)} extractors, {len(judges)} judges: one of each a file")
    files: dict[tuple[Any, ...], dict[str, Path]] = {}
    for path, word, judge in zip(tables, extractors, judges, strict=True):
        files.setdefault((word,), {})[judge] = path
    rows, claims = [], []
    for (extractor, *_), of_training in by_extractor(files).items():
        read = {training: _areas_by_judge(of_judge) for training, of_judge in of_training.items()}
        check_alike(extractor, {training: (*seen, list(found)) for training, (*seen, found) in read.items()})
        methods, _, of_first = next(iter(read.values()))
        for reader, axis in product(of_first, CURVE_AXES):
            values = {training: areas_of[reader][axis] for training, (*_, areas_of) in read.items()}
            of = {"extractor": extractor, "judge": reader, "curve_axis": axis}
            found = [of | row for row in ranked(methods, values, resamples, seed)]
            rows += found
            claims += claims_of([row for row in found if row["method"] != TIS], of_training)
    judge_claims(claims, lambda row: (row["curve_axis"], row["judge"] is None), lambda row: row["difference"] < 0)
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def _areas_by_judge(files: dict[str, Path]) -> tuple[list[str], list[str], dict[str | None, Areas]]:
    """Methods, keys, and by judge (None: their mean) the areas, of a training's judged files."""
    of_judge: dict[str | None, Areas] = {}
    methods: list[str] = []
    images: list[str] = []
    for judge, path in files.items():
        found_methods, keys, of_judge[judge] = areas(path)
        methods, images = methods or found_methods, images or keys
        if (found_methods, keys) != (methods, images):
            raise InputError(f"{path}: not the methods and images of {next(iter(files.values()))}")
    together = {axis: np.mean([found[axis] for found in of_judge.values()], axis=0) for axis in CURVE_AXES}
    return methods, images, {None: together} | of_judge


def areas(path: Path) -> tuple[list[str], list[str], Areas]:
    """Methods and keys of a judged file, and by curve axis the area under every image's curve ``[M, N]``.

    Raises:
        InputError: the file is damaged, or a method lacks an image or a masking size.
    """
    columns = ["n", "probability_change", "masked_fraction", "masked_brightness"]
    table = read_table(path, ["key", "method", *columns]).sort_by([("n", "ascending"), ("key", "ascending")])
    keys = sorted(set(table["key"].to_pylist()))
    curves: dict[str, dict[str, NDArray[np.float64]]] = {}
    for method in sorted(set(table["method"].to_pylist())):
        rows = table.filter(pc.equal(table["method"], method))
        if rows["key"].to_pylist() != keys * (len(rows) // len(keys)):
            raise InputError(f"{path}: not the same images at every n for {method}")
        curves[method] = {name: rows[name].to_numpy().astype(np.float64).reshape(-1, len(keys)) for name in columns}
    if missing := {TIS, FULL_MASK} - curves.keys():
        raise InputError(f"{path}: no method {min(missing)!r}; it has {quoted(curves)}")
    end = curves.pop(FULL_MASK)
    for method, curve in curves.items():
        if not np.array_equal(curve["n"], curves[TIS]["n"]):
            raise InputError(f"{path}: other n for {method} than for {TIS}")
    return (
        list(curves),
        keys,
        {axis: np.stack([area(curve, end, axis) for curve in curves.values()]) for axis in CURVE_AXES},
    )


def area(curve: dict[str, NDArray[np.float64]], end: dict[str, NDArray[np.float64]], axis: str) -> NDArray[np.float64]:
    """Area ``[N]`` under images' masking curves, of columns ``[points, N]`` and those of all black, ``[1, N]``."""
    fall, at = curve["probability_change"], curve[axis]
    if axis == "n":
        at = at / at.max()
    else:
        fall, at = np.concatenate([fall, end["probability_change"]]), np.concatenate([at, end[axis]])
    start = np.zeros_like(at[:1])
    return trapezoid(np.concatenate([start, fall]), np.concatenate([start, at]), axis=0)


def ranked(
    methods: list[str], of_training: dict[int, NDArray[np.float64]], resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of methods by rank, of areas ``[M, N]`` by training: of every training, and of all together.

    Without the correction for the number of comparisons.
    """
    reference = methods.index(TIS)
    beside = {training: values - values[reference] for training, values in of_training.items()}
    differences, images = by_training(beside, resamples, seed), next(iter(beside.values())).shape[1]
    for training, areas_of in by_training(of_training, resamples, seed).items():
        means, compared = list(areas_of.rows()), list(differences[training].rows())
        for rank, index in enumerate(areas_of.mean.argsort(kind="stable"), start=1):
            mean, difference = means[index], compared[index]
            row = {"training": training, "method": methods[index], "rank": rank, "samples": images}
            row |= {"auc": mean["mean"], "auc_low": mean["low"], "auc_high": mean["high"]}
            if index != reference:
                row |= {"difference": difference["mean"], "effect_size": difference["effect_size"]}
                row |= {"difference_low": difference["low"], "difference_high": difference["high"]}
                row |= {"p": difference["p"]}
            yield row
