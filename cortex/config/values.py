"""Kinds of values; see :mod:`cortex.core.settings`."""

from cortex.core.settings import *  # noqa: F403
from cortex.core.settings import (  # noqa
    Class,
    Count,
    Counts,
    File,
    Fraction,
    Name,
    Rate,
    Section,
    Share,
    Weight,
    WrongValueError,
    distinct,
)
