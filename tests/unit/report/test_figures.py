"""Figures show what tables and images hold."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps

from cortex.core.errors import InputError
from cortex.data.shard_reader import read_shard
from cortex.evaluate import codebook_level, concept_level, image_level
from cortex.report.draw.images import draw_importance, first_of_classes
from cortex.report.draw.metrics import draw_masking
from cortex.report.draw.tokens import mean_patches
from cortex.report.figures import images, panels
from cortex.report.figures.style import METHOD_LOOKS, look_of, save_figure
from tests.unit.report.conftest import write_scores
from tests.unit.report.rows import CODEBOOK_LEVEL, COMPARISONS, CONCEPT_LEVEL, EVIL, codebook_row, image_row


def test_same_values_give_the_same_files(run, tmp_path):
    for against in ("n", "area", "brightness"):
        name = f"masking_by_{against}.svg"
        draw_masking(tmp_path / name, run.folder / "metrics" / "image_level.parquet", against=against)
        assert (tmp_path / name).read_bytes() == (run.folder / "figures" / name).read_bytes()


def test_examples_are_the_first_of_each_class_and_little_is_read(run):
    samples = [sample for shard in run.files.shards for sample in read_shard(shard, images=True)]
    ants = [sample.image for sample in samples if sample.label == 0]
    found = first_of_classes(run.files.tokens, run.files.images, 1, 2)
    assert list(found) == [0]
    np.testing.assert_array_equal(found[0], ants[:2])
    missing = [run.files.tokens[0], Path("not-there.parquet")]
    assert len(first_of_classes(missing, run.files.images, 2, 2)[1]) == 2  # all found in the first shard
    every = first_of_classes(run.files.tokens, run.files.images, 9, 9)
    assert [len(of_class) for of_class in every.values()] == [3, 3]


def test_importance_of_other_images_is_an_error(run, tmp_path):
    other = write_scores(tmp_path / "other.parquet", run.files.tokens[1])
    with pytest.raises(InputError, match=r"other.parquet: not of the same images, in the same order, as .*0.parquet"):
        draw_importance(
            tmp_path / "a.png", extractors=["cnn", "mlp"], scores=[run.scores[0], other], images=run.files.images[0]
        )
    with pytest.raises(InputError, match=r"4 images; .*other.parquet has 2"):
        draw_importance(tmp_path / "a.png", extractors=["cnn"], scores=[other], images=run.files.images[0])


def test_overlay_goes_from_one_end_of_the_colours_to_the_other():
    image = np.full((4, 4, 3), (10, 20, 60), np.uint8)
    shown = images.overlay(image, np.array([[-1.0, 0.0], [0.0, 3.0]]))
    for pixel, value in ((shown[0, 0], 0.0), (shown[3, 3], 1.0), (shown[0, 3], 0.25)):
        expected = 0.35 * 30 + 0.65 * 255 * np.array(colormaps["viridis"](value)[:3])
        assert np.abs(pixel - expected).max() <= 1.5  # the map has 256 colours
    assert (images.overlay(image, np.zeros((2, 2))) == shown[0, 0]).all()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.0049, "<0.01"), (0.005, "0.01"), (0.994, "0.99"), (1, "1.00")]
)
def test_small_probabilities_are_not_shown_as_none(value, text):
    assert images.probability(value) == text


def test_mean_patch_is_that_of_a_pixel_loop(run):
    samples = [sample for shard in run.files.shards for sample in read_shard(shard, images=True)]
    patches = mean_patches(iter(samples), [*range(24), 999])
    for token in range(24):
        held = [
            sample.image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            for sample in samples
            for y, x in zip(*np.nonzero(sample.grid == token), strict=True)
        ]
        if held:
            np.testing.assert_array_equal(patches[token], np.round(np.mean(held, axis=0)))
        assert bool(held) == (token in patches)
    assert 999 not in patches


def test_one_extractor_one_judge_one_size():
    rows = [image_row("cnn", "vit", method, 5, -0.1) for method in image_level.METHODS]
    for figure in (
        panels.masking(rows, "n"),
        panels.masking(rows, "masked_fraction"),
        panels.masking(rows, "masked_brightness"),
        panels.concept_level(CONCEPT_LEVEL[:3], [row for row in COMPARISONS if row["level"] == "concept_level"][:2]),
        panels.codebook_level([codebook_row("cnn", "vit", "embedding", 0.1, 0.2)]),
    ):
        assert len(figure.axes) == 1
    assert set(image_level.MEASURES) == set(concept_level.MEASURES) < set(rows[0])
    assert set(codebook_level.MEASURES) < set(CODEBOOK_LEVEL[0])


def test_names_of_classes_are_no_formulas(tmp_path):
    figure = images.samples([EVIL, "$x^{2"], [[np.zeros((8, 8, 3), np.uint8)]] * 2)
    save_figure(figure, tmp_path / "samples.png")
    assert (tmp_path / "samples.png").stat().st_size > 1000


def test_methods_from_elsewhere_have_a_look_of_their_own():
    rows = [image_row("cnn", "vit", method, n, -0.1) for method in ("importance", "mine", "theirs") for n in (1, 2)]
    lines = panels.masking(rows, "n").axes[0].get_lines()[:3]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 3
    assert look_of("importance", 5) == METHOD_LOOKS["importance"]


def test_trainings_are_thin_lines_behind_their_mean():
    changes = {0: -0.1, 1: -0.3, None: -0.2, -1: -0.9}  # -1: scores averaged over trainings, no training
    rows = [
        image_row("cnn", "vit", "importance", n, change * n) | {"training": training}
        for training, change in changes.items()
        for n in (2, 1)
    ]
    lines = panels.masking(rows, "n").axes[0].get_lines()[:-1]  # the last is zero
    assert [line.get_ydata().tolist() for line in lines] == [[-0.1, -0.2], [-0.3, -0.6], [-0.2, -0.4]]
    assert lines[2].get_linewidth() > 2 * max(line.get_linewidth() for line in lines[:2])
    assert len({line.get_color() for line in lines}) == 1


def test_trainings_of_an_extractor_share_its_colour():
    history = {"epoch": [1, 2], "train_loss": [1, 0.5], "val_loss": [1, 0.6], "val_top1": [0.5, 0.7]}
    judges = {"cnn": {"epoch": [1], "held_out_top1": [0.9]}}
    figure = panels.training({"cnn/0": history, "cnn/1": history, "resnet/0": history}, judges)
    colours = [line.get_color() for line in figure.axes[1].get_lines() if line.get_marker() == "None"]
    assert colours[0] == colours[1] != colours[2]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["cnn", "resnet"]
    assert figure.axes[2].get_lines()[0].get_color() not in colours
