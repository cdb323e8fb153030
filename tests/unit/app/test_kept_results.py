"""Results can be kept under changed code: by one command, and on record."""

import fcntl
import json
import shutil
import time

import pytest

from cortex.app import kept_results
from cortex.app.cli import main
from cortex.app.kept_results import RunCode
from cortex.app.run_lock import LOCKS, hold_run
from cortex.core.errors import InputError
from cortex.core.fingerprint import code_digest
from cortex.core.kept import kept_decisions
from tests.pipeline import CHECKOUT, change_config

NETWORK = "cortex.extractors.cnn:CNN"
STAGES = [("importance", NETWORK), ("manifest",)]
TARGETS = {"importance": "cortex.explain.scores:explain_shard", "manifest": "cortex.data.manifest:write_manifest"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a config file; its run's folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(CHECKOUT / "tests" / "tiny.yaml", tmp_path / "config.yaml")
    change_config(tmp_path / "config.yaml", {"run": "try"})
    return tmp_path / "results" / "try"


@pytest.fixture
def change_code(monkeypatch):
    """Make the code of every stage another."""

    def change(version):
        monkeypatch.setattr(kept_results, "code_digest", lambda *references: f"{version}{code_digest(*references)}")

    return change


def snakemake(folder, *stages, ends=True):
    """What Snakemake does with a run's code; the parameters of its rules."""
    code = RunCode(folder)
    given = [code.of(*stage) for stage in stages]
    code.started()
    if ends:
        code.finished()
    return given


def keep(reason="only messages changed"):
    return main(["keep-results", "--config", "config.yaml", "--reason", reason])


def test_a_parameter_names_the_stage_and_what_it_uses(place):
    assert RunCode(place).of("importance", NETWORK) == (
        f"code of importance with CNN: {code_digest(TARGETS['importance'], NETWORK)}"
    )
    assert RunCode(place).of("manifest") == f"code of manifest: {code_digest(TARGETS['manifest'])}"
    assert not place.exists()


def test_the_code_of_a_run_is_on_record(place):
    snakemake(place, *STAGES)
    content = json.loads((place / "code.json").read_text())
    assert content["decisions"] == []
    by_stage = {record["stage"]: record for record in content["stages"]}
    assert by_stage["importance"]["references"] == [NETWORK]
    digest = code_digest(TARGETS["importance"], NETWORK)
    assert by_stage["importance"]["code"] == by_stage["importance"]["given"] == digest
    time.strptime(by_stage["importance"]["time"], "%Y-%m-%dT%H:%M:%S%z")
    before = (place / "code.json").read_bytes()
    snakemake(place, *STAGES)
    assert (place / "code.json").read_bytes() == before


def test_kept_results_have_the_parameter_of_the_code_that_computed_them(place, change_code, capsys):
    first = snakemake(place, *STAGES)
    change_code("b")
    assert snakemake(place, *STAGES, ends=False) != first  # it was interrupted: the results are still those of before
    assert keep() == 0
    assert capsys.readouterr().out == "kept: importance with CNN\nkept: manifest\n"
    assert snakemake(place, *STAGES) == first
    (decision,) = kept_decisions(place)
    assert decision["reason"] == "only messages changed"
    assert {"time", "cortex", "git_commit"} < decision.keys()
    old = {stage: digest.rpartition(" ")[2] for stage, digest in zip(("importance", "manifest"), first, strict=True)}
    assert {kept["stage"]: (kept["code"], kept["given"]) for kept in decision["kept"]} == {
        stage: (f"b{digest}", digest) for stage, digest in old.items()
    }


def test_another_change_counts_again_and_can_be_kept_too(place, change_code):
    first = snakemake(place, *STAGES)
    change_code("b")
    keep()
    snakemake(place, *STAGES)
    change_code("c")
    assert all(new != old for new, old in zip(snakemake(place, *STAGES, ends=False), first, strict=True))
    keep("reworded")
    assert snakemake(place, *STAGES) == first
    assert [decision["reason"] for decision in kept_decisions(place)] == ["only messages changed", "reworded"]


def test_results_that_were_computed_anew_are_those_of_the_new_code(place, change_code, capsys):
    first = snakemake(place, *STAGES)
    change_code("b")
    second = snakemake(place, *STAGES)
    assert keep() == 0
    assert capsys.readouterr().out.startswith("Nothing to keep: no stage of run 'try' ")
    assert kept_decisions(place) == []
    assert snakemake(place, *STAGES) == second != first


def test_a_stage_that_a_run_meets_later_is_on_record_at_once(place):
    code = RunCode(place)
    code.started()
    assert not (place / "code.json").exists()
    code.of("manifest")
    assert [record["stage"] for record in json.loads((place / "code.json").read_text())["stages"]] == ["manifest"]


def test_what_is_no_longer_there_is_not_kept(place, change_code, capsys):
    snakemake(place, *STAGES)
    path = place / "code.json"
    path.write_text(path.read_text().replace(NETWORK, "cortex.extractors.gone:CNN"))
    change_code("b")
    assert keep() == 0
    assert capsys.readouterr().out == "kept: manifest\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "results/try/code.json: no stage is on record: Snakemake has not worked on run 'try'"),
        ("{", "results/try/code.json: damaged; without it, changed code makes its stages run again"),
        ("[" * 100_000, "results/try/code.json: damaged; without it, changed code makes its stages run again"),
        ("[]", "results/try/code.json: damaged; without it, changed code makes its stages run again"),
        ('{"stages": []}', "results/try/code.json: damaged; without it, changed code makes its stages run again"),
    ],
)
def test_what_cannot_be_kept_is_an_error_of_one_line(place, content, problem, capsys):
    if content is not None:
        place.mkdir(parents=True)
        (place / "code.json").write_text(content)
    assert keep() == 1
    assert capsys.readouterr().err == f"cortex keep-results: error: {problem}\n"


def test_a_decision_needs_a_reason(place, capsys):
    snakemake(place, *STAGES)
    assert keep(" ") == 1
    assert capsys.readouterr().err == "cortex keep-results: error: --reason is empty: say why the results stay valid\n"


def test_nothing_is_kept_while_snakemake_works_on_the_run(place, capsys):
    snakemake(place, *STAGES)
    LOCKS.mkdir(parents=True)
    with open(LOCKS / "try.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert keep() == 1
        with pytest.raises(InputError, match="Another Snakemake is working on run 'try'"):
            hold_run("try")
    assert "Another Snakemake is working on run 'try'" in capsys.readouterr().err
    assert keep() == 0


def test_functions_of_one_name_in_two_modules_are_two_stages(place):
    code = RunCode(place)
    sanity = code.of("study", "cortex.studies.sanity.randomise:rows")
    stability = code.of("study", "cortex.studies.stability.noise:rows")
    assert sanity != stability
