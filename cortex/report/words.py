"""Numbers as the page shows them; each function is a filter of the templates, too."""

from collections.abc import Sequence

from cortex.generators.spec import GeneratorSpec
from cortex.report.rows import Row


def percent(share: float) -> str:
    """A share like "93.1 %"."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def rounded(share: float) -> str:
    """A share like "93 %", for sentences; "<1 %" where it would be 0."""
    text = "<1" if 0 < share < 0.005 else f"{100 * share:.0f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def points(change: float) -> str:
    """The size of a change of a probability, like "34 points"; one decimal below 1."""
    size = abs(100 * change)
    text = f"{size:.1f}" if 0.05 <= size < 0.95 else f"{size:.0f}"
    return f"{text}\N{NO-BREAK SPACE}{'point' if text == '1' else 'points'}"


def change(value: float) -> str:
    """A change of a probability with its sign, three decimals, or one digit where those are zero."""
    text = f"{value:+.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:+.0e}"
    return text.replace("-", "−")


def decimal(value: float) -> str:
    """A number with two decimals, like "−0.25"."""
    return f"{value:.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def decimal1(value: float) -> str:
    """A number with one decimal, like "2.1"."""
    return f"{value:.1f}".replace("-", "−")


def number(value: float) -> str:
    """A count like "4,000"; any other number with three decimals, or with two digits where those are zero."""
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:.1e}"
    return text.replace("-", "−")


def estimate(row: Row) -> str:
    """The value of a row with its 95 % interval, like "0.25 (0.20 to 0.30)"."""
    return f"{decimal(row['value'])} ({decimal(row['low'])} to {decimal(row['high'])})"


def grid(spec: GeneratorSpec) -> str:
    """Rows and columns of a grid of tokens, or the number of tokens and their maps, where they have several scales."""
    if not spec.scales:
        return f"{spec.grid[0]} × {spec.grid[1]}"
    return f"{spec.grid[1]:,}, in maps of {listed([f'{side} × {side}' for side in spec.scales])}"


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


FILTERS = {
    function.__name__: function
    for function in (percent, rounded, points, change, decimal, decimal1, number, estimate, listed)
}
