"""Progress of long work: a bar on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)
Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int, what: str, unit: str, every: float = 30.0) -> Iterator[Item]:
    """Yield ``items`` while telling on stderr how far it is; in a log, one line at most ``every`` seconds."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit=unit, dynamic_ncols=True)
        return
    began = told = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - told >= every or done == total:
            told = now
            log.info("%s: %s %d of %d, %.1f a second", what, unit, done, total, done / max(now - began, 1e-9))
