"""Figures drawn from tables alone: training histories and metrics."""

from pathlib import Path

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.report import figures


def draw_training(
    output: Path,
    *,
    extractors: list[str],
    extractor_histories: list[Path],
    judges: list[str],
    judge_histories: list[Path],
) -> None:
    """Draw the training curves of the extractors and the judges.

    Args:
        output: figure to write (svg).
        extractors: names of the extractors.
        extractor_histories: their history.parquet files, in the same order.
        judges: names of the judges.
        judge_histories: their history.parquet files, in the same order.
    """
    extractor_columns, judge_columns = ["epoch", "train_loss", "val_loss", "val_top1"], ["epoch", "held_out_top1"]
    figure = figures.training(
        {
            name: read_table(path, extractor_columns).to_pydict()
            for name, path in pairs(extractors, extractor_histories)
        },
        {name: read_table(path, judge_columns).to_pydict() for name, path in pairs(judges, judge_histories)},
    )
    figures.save_figure(figure, output)


def draw_masking(by_n: Path, by_area: Path, by_brightness: Path, metrics: Path) -> None:
    """Draw a judge's change of probability under masks, against n and against the masked share of the image.

    Args:
        by_n: figure to write (svg): against n, the positions whose codes are masked.
        by_area: figure to write (svg): against the masked share of the image's area.
        by_brightness: figure to write (svg): against the masked share of its brightness.
        metrics: image-level metrics.
    """
    rows = read_table(metrics).to_pylist()
    figures.save_figure(figures.masking(rows, "n"), by_n)
    figures.save_figure(figures.masking(rows, "masked_fraction"), by_area)
    figures.save_figure(figures.masking(rows, "masked_brightness"), by_brightness)


def draw_concept_level(output: Path, metrics: Path, comparisons: Path) -> None:
    """Draw how much more masking concept-level tokens costs than masking the most frequent ones, with intervals.

    Args:
        output: figure to write (svg).
        metrics: concept-level metrics.
        comparisons: of all methods with their baselines.
    """
    compared = [
        row for row in read_table(comparisons).to_pylist() if row["level"] == "concept_level" and row["label"] is None
    ]
    figures.save_figure(figures.concept_level(read_table(metrics).to_pylist(), compared), output)


def draw_codebook_level(output: Path, metrics: Path) -> None:
    """Draw the target's probability before and after the codebook search.

    Args:
        output: figure to write (svg).
        metrics: codebook-level metrics.
    """
    figures.save_figure(figures.codebook_level(read_table(metrics).to_pylist()), output)


def pairs(names: list[str], paths: list[Path]) -> list[tuple[str, Path]]:
    """Names with their files.

    Raises:
        InputError: not as many names as files.
    """
    if len(names) != len(paths):
        raise InputError(f"{len(names)} names, {len(paths)} files: {names}, {[str(path) for path in paths]}")
    return list(zip(names, paths, strict=True))
