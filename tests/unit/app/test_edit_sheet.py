"""What an edit's sheet shows, and what its reader is warned of."""

import numpy as np
import pytest

from cortex.app.edit_sheet import draw_sheet, warnings_of
from cortex.explain.settings import Region

GRID = np.arange(16).reshape(4, 4) % 4
TRAIN = np.random.default_rng(0).integers(0, 4, (200, 4, 4))
LIGHT, DARK = np.full((8, 8, 3), 200, np.uint8), np.zeros((8, 8, 3), np.uint8)
HALVES = np.concatenate([LIGHT[:4], DARK[:4]])
OTHER = GRID.copy()
OTHER[1, 2] = 9


def told(picture=HALVES, before=HALVES, after=DARK, grid=GRID, changed=OTHER):
    pictures, grids = {"picture": picture, "before": before, "after": after}, {"before": grid, "after": changed}
    return list(warnings_of(pictures, grids, TRAIN, codes=16))


def test_an_ordinary_edit_has_no_warning():
    assert told() == []
    assert told(before=np.roll(HALVES, 1, axis=0)) == [], "a little off"


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"before": HALVES[::-1]}, "its decoded tokens differ from it by 1.57, one plain colour by 0.78 (of -1..1)"),
        (
            {"picture": LIGHT, "before": DARK, "after": HALVES},
            "its decoded tokens differ from it by 1.57, one plain colour by 0.00",
        ),
        ({"grid": GRID + 8, "changed": GRID}, "100 % of them have more frequent tokens"),
        ({"changed": GRID, "after": HALVES}, "the edit changed no token"),
        ({"after": HALVES}, "the edit changed tokens, but no pixel"),
    ],
)
def test_what_is_odd_is_told(changes, warning):
    (found,) = told(**changes)
    assert warning in found


def test_the_sheet_numbers_every_token_and_marks_the_changed_one():
    pictures, grids = {"picture": HALVES, "before": HALVES, "after": DARK}, {"before": GRID, "after": OTHER}
    titles = {name: name for name in pictures}
    figure = draw_sheet(pictures, grids, Region(top=1, left=2, height=1, width=1), titles)
    shown, tokens = [axes for axes in figure.axes if axes.images][:3], figure.axes[4:]
    assert [axes.get_title("left") for axes in (*shown, *tokens)] == [*titles, "tokens before", "tokens after"]
    for axes, image in zip(shown, pictures.values(), strict=True):
        assert np.array_equal(axes.images[0].get_array(), image)
    for axes, grid in zip(tokens, grids.values(), strict=True):
        assert [text.get_text() for text in axes.texts] == [str(token) for token in grid.ravel()]
    bold = [text.get_text() for text in tokens[1].texts if text.get_weight() == "bold"]
    assert bold == ["9"] and not any(text.get_weight() == "bold" for text in tokens[0].texts)
    (frame,) = tokens[1].patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((2, 1), 1, 1)
