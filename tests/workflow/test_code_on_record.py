"""Every function that a job calls counts in the fingerprint of its rule: no change of code leaves stale results."""

import ast
import json
import re
from functools import cache

import pytest

from cortex.app.kept_results import target_of
from cortex.core.fingerprint._digests import Code

# Called, but no part of what is computed.
COMPUTES_NOTHING = ("cortex.app", "cortex.core.fingerprint", "cortex.core.registry")
LOOK_UP_NAMES = {"cortex.extractors", "cortex.judges", "cortex.studies"}  # these modules, not those inside


@pytest.fixture(scope="module")
def jobs(controlled_run):
    """For every process of a job: its command, the references of its rule's code, and its calls."""
    stages = json.loads((controlled_run / "results" / "tiny" / "code.json").read_text())["stages"]
    references = {record["given"]: [target_of(record["stage"]), *record["references"]] for record in stages}
    digests = {}  # by the command and the value of its first option, an output
    for path in (controlled_run / ".snakemake" / "metadata").rglob("*"):
        if path.is_file():
            record = json.loads(path.read_text())
            for command in re.findall(r"-m cortex (\S+) --\S+ (\S+)", record["shellcmd"] or ""):
                (digests[command],) = re.findall(r"'code of .*?: (\w+)'", " ".join(record["params"]))
    found = []
    for path in (controlled_run / "calls").glob("*.json"):
        record = json.loads(path.read_text())
        command, _, output, *_ = record["arguments"]
        found.append((command, references[digests[command, output]], record["calls"]))
    return found


@cache
def stretches_of(path):
    """The stretches of a file's lines that define names, as (first line, last line, names)."""
    stretches = []
    for node in ast.parse(path.read_bytes()).body:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        stretches.append((first, node.end_lineno, {node.name} if hasattr(node, "name") else named))
    return stretches


def names_at(package, module, line):
    """The names that a line of a module is part of the definition of."""
    base = package.joinpath(*module.split(".")[1:])
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    (names,) = [names for first, last, names in stretches_of(path) if first <= line <= last]
    return names


code_in = cache(lambda package: Code({"cortex": [package]}))


def missed(package, references, calls):
    """The functions called that are not reached from the references, as (module, names)."""
    reached = {(definition.module, definition.name) for definition in code_in(package).reached(*references)}
    for module, line in calls:
        names = names_at(package, module, line)
        # The rules pass all settings, so the validators of their sections do not count.
        if module.startswith(COMPUTES_NOTHING) or module in LOOK_UP_NAMES or module.endswith(".settings"):
            continue
        if not any((module, name) in reached for name in names):
            yield module, *sorted(names)


def test_every_function_that_a_job_calls_counts(controlled_run, jobs):
    record = json.loads((controlled_run / "results" / "tiny" / "code.json").read_text())
    assert {command for command, _, _ in jobs} == {stage["stage"] for stage in record["stages"]}
    for command, references, calls in jobs:
        assert len(calls) > 5
        assert set(missed(controlled_run / "cortex", references, calls)) == set(), command


def test_what_a_job_loads_by_a_name_counts_because_its_rule_says_so(controlled_run, jobs):
    package = controlled_run / "cortex"
    classes = {
        names
        for command, (stage, *_), calls in jobs
        if command == "train-extractor"
        for names in missed(package, [stage], calls)
    }
    assert {("cortex.extractors.cnn", "CNN"), ("cortex.extractors.transformer", "Transformer")} <= classes
