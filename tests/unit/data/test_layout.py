"""Where tokens stand in an image: tiles, and tiles of several scales, pixel by pixel."""

import numpy as np
import pytest

from cortex.data.layout import COARSEST, Layout

SIDES = (1, 3, 4, 5)
SCALES = Layout((1, 51), SIDES)
STARTS = [0, 1, 10, 26]


def test_a_grid_is_tiles():
    layout = Layout((2, 4))
    assert layout.cells((4, 8))[0].tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2 + [[4, 4, 5, 5, 6, 6, 7, 7]] * 2
    assert layout.boxes((4, 8))[5].tolist() == [2, 2, 2, 2]
    assert layout.maskable.tolist() == list(range(8)) and not layout.scale_of.any()
    assert layout.inside((0, 2), (1, 3)) == [1, 2, 5, 6]
    scores = np.arange(8.0)
    assert np.array_equal(layout.heat(scores), scores.reshape(2, 4))


def test_a_pixel_is_of_the_cell_that_holds_its_centre():
    found = SCALES.cells((16, 12))
    assert found.shape == (4, 16, 12)
    for side, start, cells in zip(SIDES, STARTS, found, strict=True):
        for y in range(16):
            for x in range(12):
                row, column = int((y + 0.5) / 16 * side), int((x + 0.5) / 12 * side)
                assert cells[y, x] == start + row * side + column


def test_boxes_tile_the_image_at_every_scale():
    boxes = SCALES.boxes((16, 12))
    assert boxes.shape == (51, 4) and boxes[0].tolist() == [0, 0, 16, 12]
    assert boxes[STARTS[1] + 5].tolist() == pytest.approx([16 / 3, 8, 16 / 3, 4])
    for scale in range(4):
        assert (boxes[SCALES.scale_of == scale, 2:].prod(1)).sum() == pytest.approx(16 * 12)


def test_tokens_of_coarse_scales_are_not_masked():
    assert COARSEST == 4 and SCALES.maskable.tolist() == list(range(10, 51))


def test_a_region_holds_the_tokens_whose_boxes_lie_in_it():
    """Rows and columns 0 to 3 of 5: three of four rows would end at 3.75, two at 2.5."""
    expected = [10 + row * 4 + column for row in range(3) for column in range(3)]
    expected += [26 + row * 5 + column for row in range(4) for column in range(4)]
    assert SCALES.inside((0, 4), (0, 4)) == [*(1 + row * 3 + column for row in (0, 1) for column in (0, 1)), *expected]
    assert SCALES.inside((0, 5), (0, 5)) == list(range(51))


def test_the_papers_region_holds_23_tokens_of_vars():
    sides = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    layout = Layout((1, 680), sides)
    found = layout.inside((7, 11), (7, 11))
    assert np.bincount(layout.scale_of[found], minlength=10).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 4, 16]
    for position in found:
        top, left, tall, wide = layout.boxes((256, 256))[position]
        assert min(top, left) >= 112 - 1e-6 and max(top + tall, left + wide) <= 176 + 1e-6


def test_heat_adds_the_scores_that_cover_a_cell():
    scores = np.arange(51.0)
    heat = SCALES.heat(scores)
    for row in range(5):
        for column in range(5):
            places = [
                start + int((row + 0.5) / 5 * side) * side + int((column + 0.5) / 5 * side)
                for side, start in zip(SIDES, STARTS, strict=True)
            ]
            assert heat[row, column] == scores[places].sum()
