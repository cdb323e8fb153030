"""The targets: `all` is the method and its page, `full` adds the studies; the page shows those that the run has."""

import re
import shutil

import pytest
import yaml

from tests.pipeline import CHECKOUT, change_config, jobs_in, snakemake
from tests.unit.report.conftest import Page

STABILITY = {"stability": yaml.safe_load((CHECKOUT / "tests" / "studies.yaml").read_text())["studies"]["stability"]}


def planned(run, *arguments):
    """Jobs that a dry run would do, by rule, but for figures; and all that it says."""
    done = snakemake(run, *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    return {rule: count for rule, count in jobs_in(done).items() if not rule.startswith("draw_")}, said


def sections(run):
    """The page's sections of studies."""
    tags = Page((run / "results" / "tiny" / "report.html").read_text()).all("section")
    return {tag["id"].removesuffix("-topic") for tag in tags if tag.get("id", "").endswith("-topic")}


@pytest.fixture
def with_stability(tiny_run, tmp_path):
    """A copy of the tiny run whose config names a study."""
    folder = shutil.copytree(tiny_run, tmp_path / "run", symlinks=True)
    change_config(folder / "tests" / "tiny.yaml", {"studies": STABILITY})
    return folder


def test_a_study_is_computed_for_full_alone_and_is_then_on_the_page(with_stability):
    run = with_stability
    assert planned(run)[0] == {"report": 1}, "the page lists all settings"
    assert planned(run, "full")[0] == {"study": 3, "study_metrics": 1, "report": 1}
    done = snakemake(run, "full")
    assert done.returncode == 0, done.stderr
    assert jobs_in(done)["report"] == 1
    assert sections(run) == {"stability"}
    for target in ("all", "full", "metrics"):
        jobs, said = planned(run, target)
        assert jobs == {} and "Nothing to be done" in said, target

    table = run / "results" / "tiny" / "metrics" / "stability.parquet"
    table.rename(table.with_suffix(".away"))
    assert planned(run)[0] == {"report": 1}, "the page has to leave the study out"
    assert planned(run, "full")[0] == {"study_metrics": 1, "report": 1}
    table.with_suffix(".away").rename(table)

    change_config(run / "tests" / "tiny.yaml", {"importance": {"noise": 0.1}})
    jobs, said = planned(run)
    assert (jobs["importance"], jobs["study"], jobs["study_metrics"], jobs["report"]) == (9, 3, 1, 1), said


def test_all_of_a_run_with_every_study_is_up_to_date(controlled_run):
    named = set(yaml.safe_load((CHECKOUT / "tests" / "studies.yaml").read_text())["studies"])
    assert sections(controlled_run) == named
    for target in ("all", "full"):
        jobs, said = planned(controlled_run, target)
        assert jobs == {} and "Nothing to be done" in said, target


def test_a_study_that_the_config_no_longer_names_leaves_the_page(controlled_run, tmp_path):
    run = shutil.copytree(controlled_run, tmp_path / "run", symlinks=True)
    settings = yaml.safe_load((run / "tests" / "tiny.yaml").read_text())
    del settings["studies"]["stability"]
    (run / "tests" / "tiny.yaml").write_text(yaml.safe_dump(settings))
    assert planned(run)[0] == {"report": 1}


def test_every_rule_says_what_it_needs():
    rules = [
        rule
        for path in (*(CHECKOUT / "rules").glob("*.smk"), *(CHECKOUT / "cortex" / "studies").glob("*/rules.smk"))
        for rule in re.split(r"^(?= *rule \w+:)", path.read_text(), flags=re.MULTILINE)
        if "    shell:" in rule
    ]
    assert len(rules) > 20
    for rule in rules:
        name = rule.strip().partition("\n")[0]
        assert "mem_mb=growing(" in rule and "runtime=growing(" in rule, name
        # DECODER_GPUS: none where the images are stored.
        assert re.search(r"gpu=(DECODER_)?GPUS", rule) or "DEVICE" not in rule, name
