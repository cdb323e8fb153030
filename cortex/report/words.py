"""Numbers as the page shows them; each function is a filter of the templates, too."""

from collections.abc import Sequence

from cortex.report.rows import Row


def percent(share: float) -> str:
    """A share like "93.1 %"."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def change(value: float) -> str:
    """A change of a probability with its sign, three decimals, or one digit where those are zero."""
    text = f"{value:+.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:+.0e}"
    return text.replace("-", "−")


def decimal(value: float) -> str:
    """A number with two decimals, like "−0.25"."""
    return f"{value:.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def number(value: float) -> str:
    """A count like "4,000"; any other number with three decimals, or with two digits where those are zero."""
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:.1e}"
    return text.replace("-", "−")


def estimate(row: Row) -> str:
    """The value of a row with its 95 % interval, like "0.25 (0.20 to 0.30)"."""
    return f"{decimal(row['value'])} ({decimal(row['low'])} to {decimal(row['high'])})"


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


FILTERS = {function.__name__: function for function in (percent, change, decimal, number, estimate, listed)}
