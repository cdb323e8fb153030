"""Three runs and their comparison: two of one codebook, and a third of another, with one training and no levels."""

from types import SimpleNamespace

import pytest

from cortex.compare.compare import compare_runs
from cortex.core.tables import read_table
from tests.unit.compare.runs import NAMES, without_levels, write_compared_run

TABLES = ("accuracy", "curves", "differences", "tokens", "overlap", "left_out")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders of the runs: one, two, three."""
    root = tmp_path_factory.mktemp("results")
    found = [write_compared_run(root / name, seed) for seed, name in enumerate(("one", "two"), start=1)]
    whole = write_compared_run(root / "whole", 3, names=("yak", *NAMES[:0:-1]), codebook=1)
    return [*found, without_levels(whole, root / "three")]


@pytest.fixture(scope="session")
def compared(folders, tmp_path_factory):
    """The comparison of all three runs: its folder, and the rows of its tables by name."""
    output = tmp_path_factory.mktemp("compared")
    compare_runs(tuple(folders), output=output, resamples=50)
    tables = {name: read_table(output / f"{name}.parquet").to_pylist() for name in TABLES}
    return SimpleNamespace(folder=output, tables=tables, page=(output / "compare.html").read_text())
