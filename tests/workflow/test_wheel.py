"""The workflow from an installed wheel, outside of any checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.pipeline import CHECKOUT, copy_checkout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The command `cortex` of an environment with the wheel, and the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    copy_checkout(source)
    for name in ("pyproject.toml", "README.md", "LICENSE", "config.schema.json"):
        shutil.copy2(CHECKOUT / name, source)
    for name in ("configs", "snakemake_logger_plugin_cortex"):
        shutil.copytree(CHECKOUT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    paths = {"base": str(folder / "env"), "platbase": str(folder / "env")}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "env" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-warn-script-location", wheel], check=True
    )
    return folder / "env" / "bin" / "cortex"


def test_the_installed_workflow_plans_a_run_of_ones_own(installed, tmp_path):
    (tmp_path / "mine.yaml").write_text((CHECKOUT / "tests" / "tiny.yaml").read_text())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [installed, "run", "--config", "mine.yaml", "--dry-run", "True"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/tiny/report.html" in done.stdout
    assert str(installed.parents[1] / "share" / "cortex-tokens" / "Snakefile") in done.stdout + done.stderr
