"""A stage's fingerprint follows the code that the stage can reach, and nothing else."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import cortex
from cortex.app.cli import COMMANDS
from cortex.core.fingerprint import code_fingerprint

PACKAGE = Path(cortex.__file__).parent

# A package in which "stage" reaches all but "unrelated", by every way to import.
SMALL = {
    "__init__": "VERSION = 1",
    "stage": '''
        """The stage."""

        import math
        import cortex.by_name
        from cortex import from_package
        from cortex.folder import inside
        from cortex.folder.constants import LIMIT as RENAMED


        class Work:
            """What is done."""

            limit = RENAMED

            async def wait(self):
                """Wait."""
                return 1


        def run(x):
            """Run it."""
            from cortex.lazily import helper  # where it is needed

            return helper(x) + math.pi
    ''',
    "by_name": "NAME = 1",
    "from_package": "from cortex.further import FURTHER\nFROM_PACKAGE = 1",
    "further": "FURTHER = 1",
    "lazily": "def helper(x):\n    return x + 1",
    "folder/__init__": "PLACE = 1",
    "folder/inside": "INSIDE = 1",
    "folder/constants": "LIMIT = 1",
    "unrelated": "from cortex.stage import run\nUNRELATED = 1",
}
REACHED = set(SMALL) - {"unrelated"}


def fingerprint(package, *modules):
    """What the package's own copy of fingerprint.py says, read anew."""
    spec = importlib.util.spec_from_file_location("fingerprint_of_copy", package / "fingerprint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.code_fingerprint(*modules)


@pytest.fixture
def small(tmp_path):
    for name, source in SMALL.items():
        path = tmp_path / "cortex" / f"{name}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(dedent(source))
    shutil.copy(PACKAGE / "fingerprint.py", tmp_path / "cortex")
    return tmp_path / "cortex"


@pytest.mark.parametrize("name", SMALL)
def test_a_changed_constant_counts_where_it_can_be_reached(name, small):
    before = fingerprint(small, "cortex.stage")
    path = small / f"{name}.py"
    assert "1" in path.read_text()
    path.write_text(path.read_text().replace("1", "2"))
    assert (fingerprint(small, "cortex.stage") != before) == (name in REACHED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""The stage."""', '"""Another text."""'),
        ('"""The stage."""\n', ""),
        ('"""What is done."""', '"""Another text."""'),
        ('"""Wait."""', '"""Another text,\n\n    of several lines."""'),
        ('    """Run it."""\n', ""),
        ("# where it is needed", "# why"),
        ("helper(x) + math.pi", "(\n        helper( x )\n        + math.pi\n    )  # sum"),
        ("import math\n", "import math\n\n\n# a line\n"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(old, new, small):
    before, path = fingerprint(small, "cortex.stage"), small / "stage.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert fingerprint(small, "cortex.stage") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ math.pi", "- math.pi"),
        ("limit = RENAMED", "limit = 'RENAMED'"),
        ("def run(x):", "def run(y):"),
        ("import cortex.by_name\n", ""),
        ("return 1", '"""A string that is no docstring."""\n        return 1'),
    ],
)
def test_everything_else_counts(old, new, small):
    before, path = fingerprint(small, "cortex.stage"), small / "stage.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert fingerprint(small, "cortex.stage") != before


def test_a_module_moved_or_added_counts_only_if_imported(small):
    before = fingerprint(small, "cortex.stage")
    (small / "new.py").write_text("NEW = 1")
    assert fingerprint(small, "cortex.stage") == before
    (small / "further.py").rename(small / "moved.py")
    (small / "from_package.py").write_text("from cortex.moved import FURTHER")
    assert fingerprint(small, "cortex.stage") != before


def test_several_modules_count_together_in_any_order(small):
    both = fingerprint(small, "cortex.stage", "cortex.unrelated")
    assert both == fingerprint(small, "cortex.unrelated", "cortex.stage")
    assert both.startswith("code of cortex.stage and cortex.unrelated with what it imports: ")
    alone = [fingerprint(small, module).rpartition(" ")[2] for module in ("cortex.unrelated", "cortex.stage")]
    assert [both.endswith(digest) for digest in alone] == [True, False]  # the one imports the other


def test_a_module_that_is_not_there_is_an_error(small):
    with pytest.raises(ValueError, match=r"cortex\.nowhere is no module of cortex"):
        fingerprint(small, "cortex.nowhere")


# --- this package ------------------------------------------------------------------------------------------------

STAGES = sorted({target.partition(":")[0] for phase in COMMANDS.values() for target, _ in phase.values()})


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(PACKAGE, tmp_path / "cortex", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))


def test_reformatting_the_whole_package_changes_no_fingerprint(copy):
    for path in copy.rglob("*.py"):
        tree = ast.parse(path.read_text())
        path.write_text("# reformatted\n" + ast.unparse(tree))
    assert {stage: fingerprint(copy, stage) for stage in STAGES} == {stage: code_fingerprint(stage) for stage in STAGES}
    assert len({code_fingerprint(stage) for stage in STAGES}) == len(STAGES)


def test_every_module_that_a_stage_loads_counts(copy):
    stage = "cortex.evaluate.codebook_level"
    script = f"import sys, {stage}; print(*(m for m in sys.modules if m.split('.')[0] == 'cortex'))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert stage in loaded and "cortex.core.errors" in loaded
    before = fingerprint(copy, stage)
    for module in loaded:
        base = copy.joinpath(*module.split(".")[1:])
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        source = path.read_text()
        path.write_text(source + "\nADDED = 1\n")
        assert fingerprint(copy, stage) != before, f"{module} is loaded by {stage}"
        path.write_text(source)
    assert fingerprint(copy, stage) == before


def test_fingerprints_are_the_same_in_every_process():
    script = "from cortex.core.fingerprint import code_fingerprint; print(code_fingerprint('cortex.data.draw'))"
    for seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
        )
        assert run.stdout.strip() == code_fingerprint("cortex.data.draw")


def test_imports_are_absolute_which_is_what_fingerprints_follow():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: line {node.lineno}"
