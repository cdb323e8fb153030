"""How far a run is: its stages, each a group of rules with a number of jobs."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Stage:
    """A stage: jobs by rule, and times in seconds of some clock."""

    name: str
    jobs: dict[str, int]
    took: dict[str, list[float]] = field(default_factory=dict)  # by rule, the seconds of the jobs that are done
    running: dict[int, tuple[str, float]] = field(default_factory=dict)  # by job, its rule, and when it began
    began: float | None = None
    ended: float | None = None

    @property
    def all(self) -> int:
        """The number of its jobs."""
        return sum(self.jobs.values())

    @property
    def done(self) -> int:
        """The number of its jobs that are done."""
        return sum(map(len, self.took.values()))

    def elapsed(self, now: float) -> float | None:
        """Seconds from its first job's begin to its last one's end, or to now; None before."""
        return None if self.began is None else (self.ended or now) - self.began

    def remaining(self, now: float) -> float | None:
        """Seconds that are left if further jobs take as long as those of their rule, or else of the stage, did.

        As many run at once as now. None while no job is done, and if none is running.
        """
        durations = [seconds for rule in self.took.values() for seconds in rule]
        if not durations or not self.running:
            return None
        left = 0.0
        for rule, jobs in self.jobs.items():
            took = self.took.get(rule, [])
            known = took or durations
            mean = sum(known) / len(known)
            passed = sum(min(now - began, mean) for of, began in self.running.values() if of == rule)
            left += (jobs - len(took)) * mean - passed
        return left / len(self.running)


class Progress:
    """The stages of a run. The display's thread and the log's may use it at the same time.

    Args:
        stages: name of the stage of every rule; rules of none are targets alone.
        jobs: number of jobs by rule.
    """

    def __init__(self, stages: Mapping[str, str], jobs: Mapping[str, int]):
        self._lock = threading.Lock()
        self._stage_of: dict[str, Stage] = {}
        by_name: dict[str, Stage] = {}
        for rule, name in stages.items():  # in the order of the workflow
            if rule in jobs:
                self._stage_of[rule] = by_name.setdefault(name, Stage(name, {}))
                self._stage_of[rule].jobs[rule] = jobs[rule]
        self.stages = list(by_name.values())

    def begin(self, job: int, rule: str, now: float) -> None:
        """A job begins."""
        with self._lock:
            if (stage := self._stage_of.get(rule)) is not None:
                stage.running[job] = rule, now
                stage.began = now if stage.began is None else stage.began

    def end(self, job: int, now: float, *, done: bool) -> Stage | None:
        """A job ends; its stage."""
        with self._lock:
            stage = next((stage for stage in self.stages if job in stage.running), None)
            if stage is not None:
                rule, began = stage.running.pop(job)
                if done:
                    stage.took.setdefault(rule, []).append(now - began)
                if stage.done == stage.all:
                    stage.ended = now
            return stage

    def rows(self, now: float) -> list[tuple[Stage, float | None, float | None]]:
        """Every stage, with the seconds that passed and are left."""
        with self._lock:
            return [(stage, stage.elapsed(now), stage.remaining(now)) for stage in self.stages]


def minutes(seconds: float) -> str:
    """A time as 1:05, or 1:01:05."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
