"""How far a run is, and how long it will take, worked by hand."""

import pytest

from snakemake_logger_plugin_cortex.progress import Progress, minutes

STAGES = {"draw": "generate", "pack": "generate", "train": "train", "never": "explain"}
JOBS = {"draw": 3, "pack": 1, "train": 2, "all": 1, "total": 7}


@pytest.fixture
def progress():
    return Progress(STAGES, JOBS)


def test_stages_have_the_jobs_of_their_rules_and_targets_are_none(progress):
    assert [(stage.name, stage.done, stage.all) for stage, _, _ in progress.rows(0)] == [
        ("generate", 0, 4),
        ("train", 0, 2),
    ]
    progress.begin(9, "all", 1)
    assert progress.end(9, 2, done=True) is None


def test_time_passes_from_the_first_job_to_the_last(progress):
    generate, train = progress.stages
    assert generate.elapsed(5) is None
    for job, rule in enumerate(["draw", "draw", "draw", "pack"]):
        progress.begin(job, rule, 10 + job)
    assert generate.elapsed(15) == 5
    for job in range(4):
        assert generate.ended is None
        assert progress.end(job, 20 + job, done=True) is generate
    assert (generate.done, generate.ended, generate.elapsed(99)) == (4, 23, 13)
    assert (train.done, train.elapsed(99)) == (0, None)


def test_the_rest_takes_as_long_as_jobs_of_the_same_rule_took(progress):
    generate = progress.stages[0]
    progress.begin(0, "draw", 0)
    progress.begin(1, "draw", 0)
    assert generate.remaining(5) is None, "nothing is known yet"
    progress.end(0, 10, done=True)
    # Two draws of 10 s are left, 10 s of one have passed; the packing counts as a draw. One job runs at a time.
    assert generate.remaining(10) == 2 * 10 - 10 + 10
    progress.begin(2, "pack", 10)
    # Of the packing, 4 s have passed; two jobs run at a time.
    assert generate.remaining(14) == ((2 * 10 - 10) + (10 - 4)) / 2
    progress.end(2, 16, done=True)
    # A draw that takes longer than the others did has nothing left, and not less.
    assert generate.remaining(100) == 10
    progress.end(1, 30, done=True)
    assert generate.remaining(30) is None, "nothing runs"
    progress.begin(3, "draw", 30)
    assert generate.remaining(30) == (10 + 30) / 2


def test_a_job_that_failed_is_not_done(progress):
    progress.begin(0, "train", 0)
    assert progress.end(0, 5, done=False).name == "train"
    assert [(stage.done, stage.running) for stage in progress.stages] == [(0, {}), (0, {})]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (754, "12:34"), (3600, "1:00:00"), (36_061, "10:01:01")],
)
def test_times(seconds, text):
    assert minutes(seconds) == text
