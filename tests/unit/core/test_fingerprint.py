"""A stage's fingerprint follows the definitions that the stage can reach, and nothing else."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import cortex
from cortex.app.cli import COMMANDS
from cortex.core import fingerprint
from cortex.core.fingerprint import code_digest, code_fingerprint
from cortex.core.fingerprint._digests import Code
from tests.unit.core.small_package import SMALL

PACKAGE = Path(cortex.__file__).parent

REFERENCE = "small.stage:run"


@pytest.fixture
def small(tmp_path):
    """The folder of the small package."""
    for name, source in SMALL.items():
        path = tmp_path / "small" / f"{name}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(dedent(source))
    return tmp_path / "small"


def digest(package, *references):
    """The digest of references to a package, read anew."""
    return Code({"small": [package]}).digest(*references)


def edit(package, module, old, new):
    """Replace a text of a module."""
    path = package / f"{module}.py"
    assert old in path.read_text(), f"{old!r} is not in {module}"
    path.write_text(path.read_text().replace(old, new))


def changed_by(package, module, old, new, reference=REFERENCE):
    """Whether an edit changes a fingerprint."""
    before = digest(package, reference)
    edit(package, module, old, new)
    return digest(package, reference) != before


def numbers(of):
    """Every place of a number in the small package, as (module, which of them in it)."""
    return [(name, place) for name, source in SMALL.items() for place in range(source.count(of))]


def with_number_changed(package, module, number, place):
    """Change one number of a module to 7."""
    path = package / f"{module}.py"
    parts = path.read_text().split(number)
    path.write_text(number.join(parts[: place + 1]) + "7" + number.join(parts[place + 1 :]))


@pytest.mark.parametrize(("module", "place"), [place for place in numbers("1") if place != ("stage", 2)])
def test_a_number_counts_where_it_can_be_reached(module, place, small):
    before = digest(small, REFERENCE)
    with_number_changed(small, module, "1", place)
    assert digest(small, REFERENCE) != before


@pytest.mark.parametrize(("module", "place"), numbers("5"))
def test_a_number_does_not_count_where_it_cannot(module, place, small):
    before = digest(small, REFERENCE)
    with_number_changed(small, module, "5", place)
    assert digest(small, REFERENCE) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""The stage."""', '"""Another text."""'),
        ('"""The stage."""\n', ""),
        ('"""The work."""', '"""Another text."""'),
        ('"""Wait."""', '"""Another text,\n\n        of several lines."""'),
        ('    """Run it."""\n', ""),
        ("# where it is needed", "# why"),
        ("helper(y) + math.pi +", "(\n            helper( y )\n            + math.pi\n        ) +  \\\n"),
        ("import math\n", "import math\nimport json\n\n# a line\n"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(old, new, small):
    assert not changed_by(small, "stage", old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"began with %s", x', '"starting", x'),
        ('    log.info("began with %s", x)\n', ""),
        ('    log.info("began with %s", x)\n', '    logging.getLogger("other").warning("began")\n    print("began")\n'),
        ("is {explained(x)}", "is not allowed"),
        ('raise WrongError(f"{what} is {explained(x)}")', "raise WrongError() from None"),
        ('    what: str = f"the value of {x}"\n', ""),
        ('f"the value of {x}"', '", ".join(sorted(map(str, [x])))'),
        ("    unused = 5\n", "    more = [x]\n    unused, also = str(more), 3\n"),
        ("    unused = 5\n", '    if x == 3:\n        log.info("three")\n'),
        ("except KeyError", "except KeyError as error"),
        ('"running"', '"going on"'),
        ("x: Kind", "x: float"),
        (" -> Answer", ""),
        ("limit: int", "limit: float"),
        ("_once_more", "_renamed"),
        ("decorated", "wrapped"),
        ("class Work", "UNREAD = 3\n\n\nclass Work"),
        ("log = logging", "__all__ = ['run']\nlog = logging"),
    ],
)
def test_messages_logs_and_annotations_do_not_count(old, new, small):
    assert not changed_by(small, "stage", old, new)


def test_names_of_constants_and_imports_do_not_count(small):
    before = digest(small, REFERENCE)
    edit(small, "by_dots", "DEFAULT", "NORMAL")
    edit(small, "stage", "small.by_dots.DEFAULT", "small.by_dots.NORMAL")
    edit(small, "stage", "import math\n", "import math as mathematics\n")
    edit(small, "stage", "math.pi", "mathematics.pi")
    assert digest(small, REFERENCE) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("stage", "+ math.pi", "- math.pi"),
        ("stage", "math.pi", "math.e"),
        ("stage", "import math\n", "import cmath as math\n"),
        ("stage", "limit: int = OTHER_NAME", "limit: int = 'OTHER_NAME'"),
        ("stage", "def run(x: Kind,", "def run(z: Kind,"),
        ("stage", "unused = 5", "x = x * 2"),
        ("stage", "unused = 5", "unused = next(x)"),
        ("stage", "unused = 5", "_ = list(x)"),
        ("stage", "unused = 5", "x.append(2)"),
        ("stage", "unused = 5", "print(x, file=noise)"),
        ("stage", "raise WrongError", "raise ValueError"),
        ("stage", "if x is None", "if x is not None"),
        ("stage", '[x], "running", every=10', '[x], "running", every=20'),
        ("stage", "fast_library", "faster_library"),
        ("stage", "@decorated\n", ""),
        ("stage", "class Work(Base)", "class Work"),
        ("stage", "class Work", "class Job"),
        ("stage", "limit: int = OTHER_NAME", "limit: int = OTHER_NAME\n    more: int"),
        ("stage", "log = logging", "math.tau = 3\nlog = logging"),
        ("stage", "log = logging", "logging.captureWarnings(True)\nlog = logging"),
        ("stage", "unused = 5", "log.append(x)"),
        ("stage", "log = logging", "RESULTS_VERSION = 2\nlog = logging"),
        ("origin", "import small.effects\n", ""),
        ("further", "OTHER = 5", "results_version = 2"),
        ("registry", '"small.unused:OnlyAType"', "6"),
        ("settings", "+ 1", "- 1"),
        ("typed", "layers: Count", "layers: int"),
        ("as_value", "b = 1", "b = 1\nc = 2"),
        ("starred", "ALL = 1", "ALL = 1\nhelped = 2"),
    ],
)
def test_everything_else_counts(module, old, new, small):
    edit(small, "stage", "Work, solve(y)", "Work, WrongError, solve(y)")
    assert changed_by(small, module, old, new)


def test_the_same_name_of_another_module_counts(small):
    """Both are reached before and after: which of them is meant where must count, too."""
    edit(small, "by_dots", "OTHER = 5", "def f():\n    return OTHER\n\n\nOTHER = 5")
    edit(small, "further", "OTHER = 5", "def f():\n    return OTHER\n\n\nOTHER = 6")
    (small / "both.py").write_text(
        "from small import by_dots as a, further as b\ndef both():\n    return a.f(), b.f()\n"
    )
    assert changed_by(small, "both", "return a.f(), b.f()", "return b.f(), a.f()", "small.both:both")


def test_modules_that_are_renamed_or_moved_do_not_count(small):
    before = digest(small, REFERENCE)
    (small / "further.py").rename(small / "folder" / "moved.py")
    edit(small, "base", "from small.further import Root", "from small.folder.moved import Root")
    (small / "lazily.py").rename(small / "at_once.py")
    edit(small, "stage", "from small.lazily import helper", "from small.at_once import helper")
    (small / "stage.py").rename(small / "phase.py")
    assert digest(small, "small.phase:run") == before


def test_a_definition_that_moves_to_another_module_does_not_count(small):
    before = digest(small, REFERENCE)
    edit(small, "by_dots", "DEFAULT = 1\n", "from small.moved import DEFAULT\n")
    (small / "moved.py").write_text("DEFAULT = 1\n")
    assert digest(small, REFERENCE) == before
    edit(small, "stage", "small.by_dots.DEFAULT", "small.moved.DEFAULT")
    edit(small, "stage", "import small.by_dots", "import small.moved")
    assert digest(small, REFERENCE) == before


def test_relative_imports_are_followed(small):
    before = digest(small, REFERENCE)
    edit(small, "base", "from small.further", "from .further")
    edit(small, "stage", "from small import by_name", "from . import by_name")
    assert digest(small, REFERENCE) == before
    assert changed_by(small, "further", "x=1", "x=2")


@pytest.mark.parametrize(
    "source",
    [
        "import importlib\ndef f():\n    return importlib.import_module('small.as_value').a",
        "import small.as_value\ndef f(name):\n    return getattr(small.as_value, name)",
        "from small import as_value\ndef f():\n    return vars(as_value)",
        "from small import as_value\ndef f():\n    return as_value.nowhere",
        "from small.as_value import *\ndef f():\n    return a",
        "a = 1\nb = 1\ndef f():\n    return globals()['b']",
        "import sys\na = 1\nb = 1\ndef f():\n    return sys.modules[__name__]",
    ],
)
def test_all_of_a_module_counts_where_nobody_sees_which_name_is_meant(source, small):
    (small / "asking.py").write_text(source)
    module = "asking" if "b = 1" in source else "as_value"
    assert changed_by(small, module, "b = 1", "b = 2", "small.asking:f")


def test_local_names_are_not_those_of_the_module(small):
    (small / "local.py").write_text(
        dedent("""
        def f(schema, *rest, key=None, **others):
            for row in rest:
                with row as opened:
                    pass
            return schema, row, opened, key, others, [item for item in rest], lambda inner: inner, lambda: (walrus := 1)


        schema = row = opened = key = others = rest = item = inner = walrus = 5
        """)
    )
    assert not changed_by(small, "local", "= 5", "= 6", "small.local:f")


def test_several_references_count_together_in_any_order(small):
    code = Code({"small": [small]})
    assert code.digest(REFERENCE, "small.unused:OnlyAType") == code.digest("small.unused:OnlyAType", REFERENCE)
    assert (
        len({code.digest(REFERENCE), code.digest(REFERENCE, "small.unused:OnlyAType"), code.digest("small.unused")})
        == 3
    )
    assert changed_by(small, "unused", "x = 5", "x = 6", "small.unused")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("cortex.nowhere:f", "no such module"),
        ("nowhere:f", "no such module"),
        ("cortex.data.draw:nowhere", "the module defines no such name"),
        ("cortex.data.draw:torch", "the module defines no such name"),
    ],
)
def test_a_reference_to_nothing_is_an_error(reference, problem):
    with pytest.raises(ValueError, match=f"{reference}: {problem}"):
        code_fingerprint(reference)


def test_code_of_another_package_counts_and_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "plug_in_of_a_user.py").write_text(
        "from cortex.core.randomness import philox\nraise SystemExit\ndef method():\n    return philox\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    said = code_fingerprint("plug_in_of_a_user:method", "cortex.extractors.cnn:CNN")
    assert said.startswith("code of CNN and method: ")
    assert "plug_in_of_a_user" not in sys.modules
    code = Code({"plug_in_of_a_user": [tmp_path / "plug_in_of_a_user.py"], "cortex": [PACKAGE]})
    names = {(definition.module, definition.name) for definition in code.reached("plug_in_of_a_user:method")}
    assert {("cortex.core.randomness", "philox"), ("plug_in_of_a_user", "method")} <= names


# --- this package ------------------------------------------------------------------------------------------------

STAGES = sorted({target for phase in COMMANDS.values() for target, _ in phase.values()})


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(PACKAGE, tmp_path / "cortex", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))


@pytest.mark.slow
def test_reformatting_the_whole_package_changes_no_fingerprint(copy):
    for path in copy.rglob("*.py"):
        tree = ast.parse(path.read_text())
        path.write_text("# reformatted\n" + ast.unparse(tree))
    code = Code({"cortex": [copy]})
    assert {stage: code.digest(stage) for stage in STAGES} == {stage: code_digest(stage) for stage in STAGES}
    assert len({code_digest(stage) for stage in STAGES}) == len(STAGES)


def test_fingerprints_are_the_same_in_every_process():
    reference = "cortex.data.draw:generate_shard"
    script = f"from cortex.core.fingerprint import code_fingerprint; print(code_fingerprint('{reference}'))"
    for seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
        )
        assert run.stdout.strip() == code_fingerprint(reference)


PLUG_IN = """
import cortex
from pydantic import Field
from torch import nn

from plugged_in_helper import act


class Settings(cortex.StepTraining):
    hidden: int = Field(3, description="units")


class Network(nn.Module):
    Settings = Settings

    def forward(self, x):
        return act(x)
"""


def test_a_users_own_module_counts_with_the_modules_beside_it_and_without_its_settings(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    plug_in, helper = tmp_path / "plugged_in.py", tmp_path / "plugged_in_helper.py"

    def written(change=("", ""), beside="x + 1"):
        plug_in.write_text(PLUG_IN.replace(*change))
        helper.write_text(f"def act(x):\n    return {beside}\n")
        fingerprint._code_of.cache_clear()
        return fingerprint.code_fingerprint("plugged_in:Network")

    before = written()
    assert written(("units", "units of the layer")) == written(("Field(3", "Field(4")) == before
    assert written(beside="x + 2") != before
    assert written(("act(x)", "act(-x)")) != before
