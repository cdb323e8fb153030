"""Judges that ``cortex train-judge`` wrote: their files state which network they are."""

from typing import ClassVar

from torch import nn

from cortex.judges.networks import ResNet, ViT
from cortex.judges.settings import BundledJudge, SavedJudge


class Bundled:
    """A judge that ships with this package."""

    Settings: ClassVar[type[BundledJudge]] = BundledJudge
    networks: ClassVar[tuple[type[nn.Module], ...]] = (ResNet, ViT)  # whose code such a judge is


class Saved(Bundled):
    """A judge of a file of the user's own."""

    Settings = SavedJudge
