"""Which attribution points best at what judges read? Methods ranked by the area under their masking curve."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.decoded import named_images
from cortex.evaluate.comparisons import judge_family, paired
from cortex.evaluate.image_level import SCHEMA as ROWS
from cortex.evaluate.masking import MEASURES, code_ranks, judge_masks
from cortex.explain.explained import ranks
from cortex.judges.judge import load_judge

REFERENCE = "importance"
EVERYTHING = "everything"  # the row of an image that is painted black as a whole, where all curves end
OVER = ("n", "masked_fraction", "masked_brightness")
SCHEMA = pa.schema(
    [
        ("extractor", pa.string()),
        ("judge", pa.string()),
        ("over", pa.string()),
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
    shards: list[Path],
    images: list[Path],
    judge: Path,
    *,
    codes: int,
    n: list[int],
    batch: int = 100,
    device: str = "auto",
) -> None:
    """Ask a judge how much less of an image's class is left when what an attribution points at is painted black.

    Masked are the codes at the n positions of highest score, wherever they stand, as at the image level; and once
    every position, as method `everything`.

    Args:
        output: Parquet to write, a row an image, method and n, with the image level's columns.
        scores: scores of the attributions.
        shards: tars of the test split.
        images: their decoded images.
        judge: weights of a judge.
        codes: codes in the codebook.
        n: how many positions' codes to mask; one result for each.
        batch: images that the judge sees at once.
        device: auto, cpu, cuda or cuda:N.
    """
    table = read_table(scores, ["key", "method", "scores"])
    methods = list(dict.fromkeys(table["method"].to_pylist()))
    keys = list(dict.fromkeys(table["key"].to_pylist()))
    if table["key"].to_pylist() != keys * len(methods):
        raise InputError(f"{scores}: not the same images, in the same order, for every method")
    samples = named_images(shards, images, keys, codes)
    labels = np.array([sample.label for sample in samples])
    grids = np.stack([sample.grid.ravel() for sample in samples])
    of_method = table["scores"].combine_chunks().flatten().to_numpy().reshape(len(methods), len(keys), -1)
    if of_method.shape[1:] != grids.shape:
        raise InputError(f"{scores}: {of_method.shape[2]} scores an image, the grids have {grids.shape[1]} positions")
    sizes = np.array(n)[:, None, None]
    masks = [code_ranks(grids, ranks(values), codes) < sizes for values in of_method]
    grid_shape = samples[0].grid.shape
    verdict = judge_masks(
        load_judge(judge, choose_device(device)),
        np.stack([sample.image for sample in samples if sample.image is not None]),
        labels,
        np.concatenate([*masks, np.ones((1, *grids.shape), bool)]),
        (grid_shape[0], grid_shape[1]),
        batch,
    )
    curves = [(method, count) for method in methods for count in n] + [(EVERYTHING, grids.shape[1])]
    rows = pa.table(
        {
            "key": keys * len(curves),
            "label": np.tile(labels, len(curves)),
            "method": np.repeat([method for method, _ in curves], len(keys)),
            "n": np.repeat([count for _, count in curves], len(keys)),
            **{measure: getattr(verdict, measure).ravel() for measure in MEASURES},
        }
    )
    write_table(output, rows.cast(ROWS))


def rank_attributions(
    output: Path,
    tables: list[Path],
    *,
    extractors: list[str],
    judges: list[str],
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Rank the attributions of every extractor by the area under their masking curves, and compare each with TIS.

    An image's curve is the change of the label's probability, masked minus unmasked, from 0 where nothing is masked
    on; straight between its points. Its area is the change averaged over

    - `n`: the masking sizes from 0 to the largest, each divided by that;
    - `masked_fraction`: the share of the image's positions that is masked, from 0 to 1, where all is black. For
      the same n, methods black out different areas: here they meet at equal area;
    - `masked_brightness`: the share of the image's brightness that is hidden, from 0 to 1: black on black hides
      nothing.

    A lower area is a better method. The interval (95 %) is that of the mean over images by the bootstrap
    (percentiles). The difference to the importance (the method's area minus its) is tested image by image with a
    paired t-test; p is corrected (Holm, 1979) for the number of comparisons of an `over`, those of single judges
    apart from those of all together. The verdict says what the method is beside the importance: better, worse or
    "no difference found".

    Args:
        output: Parquet to write: extractor, judge (null: each image's mean over judges), over, method, rank (1: the
            lowest area), samples (images), auc, auc_low, auc_high, and, null for the importance itself, difference,
            difference_low, difference_high, effect_size, p, p_corrected, verdict.
        tables: judged attributions, a file an extractor and judge.
        extractors: the extractor of every file.
        judges: the judge of every file.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    if not len(tables) == len(extractors) == len(judges):
        raise InputError(f"{len(tables)} files, {len(extractors)} extractors, {len(judges)} judges: one of each a file")
    rows = []
    for extractor in dict.fromkeys(extractors):
        methods, of_judge = _areas_by_judge(
            {judge: path for path, name, judge in zip(tables, extractors, judges, strict=True) if name == extractor}
        )
        together = {over: np.mean([found[over] for found in of_judge.values()], axis=0) for over in OVER}
        for reader, found in [(None, together), *of_judge.items()]:
            for over in OVER:
                for row in ranked(methods, found[over], resamples, seed):
                    rows.append({"extractor": extractor, "judge": reader, "over": over, **row})
    for over in OVER:
        for whole in (True, False):
            family = [row for row in rows if row["over"] == over and (row["judge"] is None) == whole]
            judge_family([row for row in family if row["method"] != REFERENCE], lambda row: row["difference"] < 0)
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def _areas_by_judge(files: dict[str, Path]) -> tuple[list[str], dict[str, dict[str, NDArray[np.float64]]]]:
    """Methods, and by judge and what they are over, their areas ``[M, N]``, of an extractor's judged files."""
    of_judge: dict[str, dict[str, NDArray[np.float64]]] = {}
    methods: list[str] = []
    images: list[str] = []
    for judge, path in files.items():
        found_methods, keys, of_judge[judge] = areas(path)
        methods, images = methods or found_methods, images or keys
        if (found_methods, keys) != (methods, images):
            raise InputError(f"{path}: not the methods and images of {next(iter(files.values()))}")
    return methods, of_judge


def areas(path: Path) -> tuple[list[str], list[str], dict[str, NDArray[np.float64]]]:
    """Methods and keys of a judged file, and by what it is over, the area under every image's curve ``[M, N]``.

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
    if missing := {REFERENCE, EVERYTHING} - curves.keys():
        raise InputError(f"{path}: no method {min(missing)!r}; it has {', '.join(curves)}")
    end = curves.pop(EVERYTHING)
    for method, curve in curves.items():
        if not np.array_equal(curve["n"], curves[REFERENCE]["n"]):
            raise InputError(f"{path}: other n for {method} than for {REFERENCE}")
    return list(curves), keys, {over: np.stack([area(curve, end, over) for curve in curves.values()]) for over in OVER}


def area(curve: dict[str, NDArray[np.float64]], end: dict[str, NDArray[np.float64]], over: str) -> NDArray[np.float64]:
    """Area ``[N]`` under images' masking curves, of columns ``[points, N]`` and those of all black, ``[1, N]``."""
    fall, at = curve["probability_change"], curve[over]
    if over == "n":
        at = at / at.max()
    else:
        fall, at = np.concatenate([fall, end["probability_change"]]), np.concatenate([at, end[over]])
    start = np.zeros_like(at[:1])
    return trapezoid(np.concatenate([start, fall]), np.concatenate([start, at]), axis=0)


def ranked(methods: list[str], of_method: NDArray[np.float64], resamples: int, seed: int) -> list[dict[str, Any]]:
    """Rows of methods by rank, of areas ``[M, N]``, without the correction for the number of comparisons."""
    means = paired(of_method, resamples, seed)
    beside = paired(of_method - of_method[methods.index(REFERENCE)], resamples, seed)
    rows = []
    for rank, index in enumerate(of_method.mean(1).argsort(kind="stable"), start=1):
        mean, difference = means[index], beside[index]
        row: dict[str, Any] = {
            "method": methods[index],
            "rank": rank,
            "samples": mean["pairs"],
            "auc": mean["difference"],
        }
        row |= {"auc_low": mean["low"], "auc_high": mean["high"]}
        if methods[index] != REFERENCE:
            row |= {"difference": difference["difference"], "effect_size": difference["effect_size"]}
            row |= {"difference_low": difference["low"], "difference_high": difference["high"], "p": difference["p"]}
        rows.append(row)
    return rows
