"""Two ways to show how far a run is: a table that stays in place, for a terminal, and lines, for a log."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from snakemake_logger_plugin_cortex.progress import Progress, Stage, minutes

if TYPE_CHECKING:
    from rich.table import Table

EVERY = 10.0  # seconds between two lines


class View(Protocol):
    """Shows a run."""

    def start(self, progress: Progress) -> None:
        """Show how far a run is from now on."""

    def changed(self, ended: Stage | None) -> None:
        """A job began or ended; the stage that ended with it."""

    def say(self, text: str) -> None:
        """Show a text for good."""

    def stop(self) -> None:
        """Show how far it came for the last time."""


class Lines:
    """A line when a stage ends, and at most every ten seconds one for the stages that have begun."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic):
        self._stream, self._clock = stream, clock
        self._began = self._said = clock()
        self._progress: Progress | None = None

    def start(self, progress: Progress) -> None:
        """See :class:`View`."""
        self._progress = progress
        self.say(f"jobs: {', '.join(f'{stage.name} {stage.all}' for stage in progress.stages)}")

    def changed(self, ended: Stage | None) -> None:
        """See :class:`View`."""
        now = self._clock()
        if self._progress is None:
            return
        if ended is not None:
            self.say(f"{ended.name}: {ended.done} of {ended.all} in {minutes(ended.elapsed(now) or 0)}")
        elif now - self._said >= EVERY:
            rows = [row for row in self._progress.rows(now) if row[0].began is not None and row[0].ended is None]
            self.say("; ".join(f"{stage.name}: {stage.done} of {stage.all}{_left(left)}" for stage, _, left in rows))

    def say(self, text: str) -> None:
        """See :class:`View`."""
        self._said = self._clock()
        print(f"{minutes(self._said - self._began)}  {text}", file=self._stream, flush=True)

    def stop(self) -> None:
        """See :class:`View`."""


class Terminal:
    """A table of the stages that is drawn again twice a second."""

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        self._progress: Progress | None = None
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=2)

    def start(self, progress: Progress) -> None:
        """See :class:`View`."""
        self._progress = progress
        self._live.start()

    def changed(self, ended: Stage | None) -> None:
        """See :class:`View`."""

    def say(self, text: str) -> None:
        """See :class:`View`."""
        self._console.print(text, markup=False)

    def stop(self) -> None:
        """See :class:`View`."""
        self._live.stop()

    def _table(self) -> "Table":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        for stage, passed, left in self._progress.rows(time.monotonic()) if self._progress else ():
            bar = ProgressBar(total=stage.all, completed=stage.done, width=24)
            time_passed = "" if passed is None else minutes(passed)
            table.add_row(stage.name, bar, f"{stage.done} of {stage.all}", time_passed, _left(left).removeprefix(", "))
        return table


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f", about {minutes(seconds)} left"
