"""One process at a time works on a run."""

import fcntl
import os
from pathlib import Path

from cortex.core.errors import InputError

LOCKS = Path(".snakemake/runs")


def hold_run(run: str) -> int:
    """Hold a run of this folder until the process ends, or the file descriptor that is returned is closed.

    Snakemake's own lock outlives a Snakemake that was killed, and goes for all runs when the first of several ends;
    the kernel's lives as long as the process. On a file system without locks, nothing is held.

    Raises:
        InputError: another process holds it.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    lock = os.open(LOCKS / f"{run}.lock", os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise InputError(
            f"Another Snakemake is working on run {run!r}: let it end, or give this config a run name of its own"
        ) from None
    except OSError:
        pass
    return lock
