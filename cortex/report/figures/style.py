"""How figures look, and how they are written; figures take plain values and read no file."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cortex.core.files import whole_file

Images = NDArray[np.uint8]  # [..., H, W, 3]

# Okabe and Ito's palette, told apart with any colour vision; in curves, markers and dashes say the same again.
BLUE, VERMILION, GREEN, SKY, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#E69F00", "#CC79A7"
INK, FAINT = "#22272e", "#8b949e"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
METHOD_LOOKS: dict[str, dict[str, Any]] = {
    "importance": {"color": BLUE, "marker": "o", "linestyle": "-", "linewidth": 2.0},
    "random": {"color": VERMILION, "marker": "s", "linestyle": "--"},
    "random_area": {"color": GREEN, "marker": "^", "linestyle": ":"},
    "random_brightness": {"color": PURPLE, "marker": "D", "linestyle": "-."},
    "token_selection": {"color": BLUE, "marker": "o", "linewidth": 2.0},
    "embedding": {"color": VERMILION, "marker": "s", "linewidth": 2.0},
}
# Fonts of scripts that DejaVu has not, on Linux, macOS and Windows.
FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans", "WenQuanYi Micro Hei"),
    *("Hiragino Sans GB", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
)
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    # DejaVu comes with matplotlib, and so looks the same on every machine.
    "font.sans-serif": ["DejaVu Sans", *(name for name in FALLBACKS if name in font_manager.get_font_names())],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$1"
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "svg.hashsalt": "cortex",  # the same values give the same file
}
WIDTH = 10.0  # inches, of every figure: the width of the page


Args = ParamSpec("Args")
Result = TypeVar("Result")


def styled(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Run ``function`` under :data:`STYLE`, and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def wrapper(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return wrapper


@styled
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as the kind that ``path`` ends in (svg or png), whole or not at all."""
    kind = path.suffix.removeprefix(".")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)


def look_of(method: str, place: int) -> dict[str, Any]:
    """Colour, marker and line of a method; of a name without a look of its own, by its place among the methods."""
    return METHOD_LOOKS.get(method, {"color": SERIES[place % len(SERIES)], "marker": "os^Dv"[place % 5]})


def short(name: str) -> str:
    """A class's name where there is little room: its first synonym, cut after 12 letters.

    A character that no font here draws becomes its number, as U+732B, not a box.
    """
    first = name.partition(",")[0]
    cut = first if len(first) <= 12 else first[:11] + "…"
    return "".join(letter if ord(letter) in _drawn() else f"U+{ord(letter):04X}" for letter in cut)


@functools.cache
def _drawn() -> frozenset[int]:
    """Characters that the fonts of :data:`STYLE` draw."""
    fonts = (font_manager.get_font(font_manager.findfont(name)) for name in STYLE["font.sans-serif"])
    return frozenset(character for font in fonts for character in font.get_charmap())
