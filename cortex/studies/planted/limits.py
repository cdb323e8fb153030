"""How much can be planted in a grid and a codebook."""

from cortex.studies.planted import Variant


def needed_positions(variant: Variant, classes: int, positions: int) -> int:
    """Positions of a grid that planted codes take."""
    return {"shortcut": positions + positions // 2, "combination": classes * positions}.get(variant, positions)


def most_codes(codes: int, classes: int) -> int:
    """Codes that every class may have at most: half of the codebook is background, and a shortcut takes one more."""
    return codes // 2 // classes - 1
