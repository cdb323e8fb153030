"""Figures drawn from tables alone: training histories and metrics."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cortex.core.errors import InputError
from cortex.core.tables import check_columns, read_table
from cortex.evaluate.levels import DIFFERENCES, LEVELS
from cortex.report.figures import panels
from cortex.report.figures.style import save_figure
from cortex.report.levels import compared
from cortex.report.results import each_judge, of_first, read_comparisons, trainings
from cortex.report.rows import Row, select

AXES: dict[str, Literal["n", "masked_fraction", "masked_brightness"]] = {
    "n": "n",
    "area": "masked_fraction",
    "brightness": "masked_brightness",
}


def draw_training(
    output: Path,
    *,
    extractors: list[str],
    extractor_histories: list[Path],
    judges: tuple[str, ...] = (),
    judge_histories: tuple[Path, ...] = (),
) -> None:
    """Draw the training curves of the extractors and the judges.

    Args:
        output: figure to write (svg).
        extractors: trained extractors, such as cnn/0.
        extractor_histories: history.parquet files of these extractors, in the same order.
        judges: names of the judges that were trained.
        judge_histories: history.parquet files of these judges, in the same order.
    """
    extractor_columns, judge_columns = ["epoch", "train_loss", "val_loss", "val_top1"], ["epoch", "held_out_top1"]
    figure = panels.training(
        {
            name: read_table(path, extractor_columns).to_pydict()
            for name, path in pairs(extractors, extractor_histories)
        },
        {name: read_table(path, judge_columns).to_pydict() for name, path in pairs(judges, judge_histories)},
    )
    save_figure(figure, output)


def draw_masking(output: Path, metrics: Path, *, against: Literal["n", "area", "brightness"] = "n") -> None:
    """Draw a judge's change of probability under masks.

    Args:
        output: figure to write (svg).
        metrics: image-level metrics.
        against: horizontal axis: n, the positions whose codes are masked, or the masked share of the image's area or
            brightness.
    """
    save_figure(panels.masking(of_first(each_judge(_of_level(metrics, "image_level"))), AXES[against]), output)


def draw_concept_level(output: Path, metrics: Path, comparisons: Path, *, top_n: int) -> None:
    """Draw the effect of masking concept-level tokens, compared with the most frequent tokens, with intervals.

    Args:
        output: figure to write (svg).
        metrics: concept-level metrics.
        comparisons: comparisons of all methods with their baselines.
        top_n: lists of which masks of equal area are shown; those of published numbers of tokens are all shown.
    """
    means = of_first(_of_level(metrics, "concept_level"))
    rows = of_first(select(read_comparisons(comparisons), level="concept_level"))
    lists = sorted({row["setting"] for row in rows if row["setting"] is not None})
    if lists and top_n not in lists:
        raise InputError(f"--top-n = {top_n}: {comparisons} compares the lists of top_n {lists}")
    rows = [row for row in rows if row["area"] is None or row["setting"] == top_n]
    beside = compared(rows, means, "concept_level", "frequency")
    save_figure(panels.concept_level(beside, trainings(rows)), output)


def draw_codebook_level(output: Path, metrics: Path) -> None:
    """Draw the target's probability before and after the codebook search.

    Args:
        output: figure to write (svg).
        metrics: codebook-level metrics.
    """
    save_figure(panels.codebook_level(each_judge(_of_level(metrics, "codebook_level"))), output)


def _of_level(metrics: Path, level: str) -> list[Row]:
    """The rows of a level's metrics.

    Raises:
        InputError: the file is missing or damaged, or is of other columns.
    """
    table, (by, measures) = read_table(metrics), LEVELS[level]
    shown = [measure for measure in measures if measure not in DIFFERENCES]
    check_columns(metrics, table, ["attribution", "extractor", "training", "judge", *by, *shown])
    rows: list[Row] = table.to_pylist()
    return rows


def pairs(names: Sequence[str], paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Names with their files.

    Raises:
        InputError: not as many names as files.
    """
    if len(names) != len(paths):
        raise InputError(f"{len(names)} names, {len(paths)} files: {list(names)}, {[str(path) for path in paths]}")
    return list(zip(names, paths, strict=True))
