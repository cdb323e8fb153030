"""A benchmark where the right answer is known: grids with planted codes, and what the explanations find of them."""

from typing import Literal

# What marks a class: plain, codes of its own; shortcut, these and one that goes with the class in training only;
# shared, half of them its neighbour's too; combination, two codes that say something only together.
Variant = Literal["plain", "shortcut", "shared", "combination"]
