"""Figures show what tables and images hold."""

from pathlib import Path

import numpy as np
import pytest

from cortex.core.errors import InputError
from cortex.data.shard_reader import read_shard
from cortex.evaluate import codebook_level, concept_level, image_level
from cortex.report.draw.images import draw_importance, first_of_classes
from cortex.report.draw.metrics import draw_masking
from cortex.report.figures import images, panels
from cortex.report.figures.style import FALLBACKS, METHOD_LOOKS, STYLE, look_of, save_figure, short
from cortex.report.levels import compared, of_first_method
from cortex.report.results import of_first, trainings
from cortex.report.rows import select
from tests.unit.report.example import EVIL, LEVEL_ROWS, METRICS, ONE_TRAINING

ROWS = of_first(LEVEL_ROWS["image_level"])


def told(figure):
    """Verdicts in a figure's legend."""
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.slow
def test_same_values_give_the_same_files(run, tmp_path):
    for against in ("n", "area", "brightness"):
        name = f"masking_by_{against}.svg"
        draw_masking(tmp_path / name, run.folder / "metrics" / "image_level.parquet", against=against)
        assert (tmp_path / name).read_bytes() == (run.folder / "figures" / name).read_bytes()


def test_examples_are_the_first_of_each_class_and_little_is_read(run):
    samples = [sample for shard in run.files.shards for sample in read_shard(shard, images=True)]
    first = samples[0].label
    found = first_of_classes(run.files.tokens, run.files.images, 1, 1)
    assert list(found) == [first]
    ((image, grid),) = found[first]
    assert np.array_equal(image, samples[0].image) and np.array_equal(grid, samples[0].grid)
    assert grid.base is None  # a view would keep all grids of the shard
    missing = [run.files.tokens[0], Path("not-there.parquet")]
    assert len(first_of_classes(missing, run.files.images, 1, 1)) == 1  # found in the first shard
    every = first_of_classes(run.files.tokens, run.files.images, 9, 9)
    assert [len(of_class) for of_class in every.values()] == [2] * 7


def test_importance_of_other_images_is_an_error(run, tmp_path):
    one, other = run.files.scores["tis", "cnn/0"]
    with pytest.raises(InputError, match=r"1.parquet: not of the same images, in the same order, as .*0.parquet"):
        draw_importance(tmp_path / "a.png", extractors=["cnn", "mlp"], scores=[one, other], images=run.files.images[0])
    short = tmp_path / "short.npy"
    np.save(short, np.load(run.files.images[0])[:2])
    with pytest.raises(InputError, match=r"2 images; .*0.parquet has 7"):
        draw_importance(tmp_path / "a.png", extractors=["cnn"], scores=[one], images=short)


def test_overlay_goes_from_grey_to_amber():
    image = np.full((4, 4, 3), (10, 20, 60), np.uint8)
    shown = images.overlay(image, np.array([[-1.0, 0.0], [0.0, 3.0]]))
    grey = 40 + 0.75 * 30
    for pixel, share in ((shown[0, 0], 0.0), (shown[3, 3], 0.75), (shown[0, 3], 0.75 * 0.25)):
        np.testing.assert_allclose(pixel, (1 - share) * grey + share * np.array([255, 176, 0]), atol=0.51)
    assert (images.overlay(image, np.zeros((2, 2))) == shown[0, 0]).all()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.0049, "<0.01"), (0.005, "0.01"), (0.994, "0.99"), (1, "1.00")]
)
def test_small_probabilities_are_not_shown_as_none(value, text):
    assert images.probability(value) == text


def test_masking_shows_the_mean_and_every_training():
    axes = panels.masking(ROWS, "masked_fraction").axes[0]  # cnn with the first judge
    drawn = [np.round(line.get_ydata(), 6).tolist() for line in axes.get_lines()]
    mean = [-0.05, -0.1, -0.2]
    assert mean in drawn
    for spread in (-0.02, 0.0, 0.02):
        assert [round(value + spread, 6) for value in mean] in drawn
    assert [round(value - 0.04, 6) for value in mean] not in drawn  # averaged scores are no training
    widths = sorted({line.get_linewidth() for line in axes.get_lines()[:-1]})
    assert widths[0] * 2 < widths[1]  # trainings are thin lines
    assert len(drawn) == 4 * (1 + 3) + 1  # methods, and the line at zero


def test_the_concept_level_shows_a_line_for_every_list_and_area():
    rows = select(of_first(METRICS["comparisons"]), level="concept_level", label=None)
    beside = of_first_method(compared(rows, LEVEL_ROWS["concept_level"], "concept_level", "frequency"))
    axes = panels.concept_level(beside, trainings(rows)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{kind}, {size}"
        for kind in ("count", "contrast")
        for size in ("top_n = 2", "20 % of the area", "40 % of the area")
    ]
    strokes = [line for line in axes.get_lines() if line.get_marker() == "|"]
    assert len(strokes) == 6 * 3  # trainings
    assert told(axes.figure) == ["better", "no difference found"]


def test_one_training_gives_no_verdict():
    rows = select(of_first(ONE_TRAINING["comparisons"]), level="concept_level", label=None)
    beside = of_first_method(compared(rows, ONE_TRAINING["concept_level"], "concept_level", "frequency"))
    figure = panels.concept_level(beside, trainings(rows))
    assert told(figure) == ["no verdict"]
    assert [line for line in figure.axes[0].get_lines() if line.get_marker() == "|"] == []


def test_one_extractor_one_judge_one_size():
    rows = [row for row in ROWS if (row["extractor"], row["judge"], row["n"], row["training"]) == ("cnn", "vit", 1, 0)]
    search = [row for row in LEVEL_ROWS["codebook_level"] if row["training"] == 0][:1]
    concept = [row for row in METRICS["comparisons"] if row["level"] == "concept_level"][:1]
    for figure in (
        panels.masking(rows, "n"),
        panels.masking(rows, "masked_fraction"),
        panels.masking(rows, "masked_brightness"),
        panels.concept_level(compared(concept, LEVEL_ROWS["concept_level"], "concept_level", "frequency")[:1], []),
        panels.codebook_level(search),
    ):
        assert len(figure.axes) == 1
    assert {row["method"] for row in rows} == set(image_level.METHODS)
    assert set(image_level.MEASURES) == set(concept_level.MEASURES) < set(rows[0])
    assert set(codebook_level.MEASURES) < set(search[0])


def test_names_of_classes_are_no_formulas(tmp_path):
    figure = images.samples([EVIL, "$x^{2"], [[np.zeros((8, 8, 3), np.uint8)]] * 2)
    save_figure(figure, tmp_path / "samples.png")
    assert (tmp_path / "samples.png").stat().st_size > 1000


def test_a_character_that_no_font_draws_becomes_its_number(tmp_path):
    """Matplotlib would draw a box, and warn, which a test takes for an error."""
    assert short("straße") == "straße" and short("a\U0010fffd") == "aU+10FFFD"
    drawn = any(name in FALLBACKS for name in STYLE["font.sans-serif"])
    assert short("零, zero") == ("零" if drawn else "U+96F6")
    figure = images.samples(["零", "ゼロ", "영"], [[np.zeros((8, 8, 3), np.uint8)]] * 3)
    save_figure(figure, tmp_path / "samples.png")


def test_methods_from_elsewhere_have_a_look_of_their_own():
    rows = [row for row in ROWS if (row["extractor"], row["judge"], row["training"]) == ("cnn", "vit", 0)]
    rows = [row | {"method": method} for row in select(rows, method="importance") for method in ("mine", "theirs")]
    lines = panels.masking(rows, "n").axes[0].get_lines()[:2]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 2
    assert look_of("importance", 5) == METHOD_LOOKS["importance"]


def test_trainings_of_an_extractor_share_its_colour():
    history = {"epoch": [1, 2], "train_loss": [1, 0.5], "val_loss": [1, 0.6], "val_top1": [0.5, 0.7]}
    judges = {"cnn": {"epoch": [1], "held_out_top1": [0.9]}}
    figure = panels.training({"cnn/0": history, "cnn/1": history, "resnet/0": history}, judges)
    colours = [line.get_color() for line in figure.axes[1].get_lines() if line.get_marker() == "None"]
    assert colours[0] == colours[1] != colours[2]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["cnn", "resnet"]
    assert figure.axes[2].get_lines()[0].get_color() not in colours
    assert len(panels.training({"cnn/0": history}, {}).axes) == 2  # no empty panel of judges
