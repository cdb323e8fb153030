"""The tutorial is a notebook; every cell runs, on the tiny run."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.pipeline import CHECKOUT


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_tutorial_runs(tiny_run, monkeypatch):
    monkeypatch.setenv("CORTEX_RUN", str(tiny_run / "results" / "tiny"))
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    notebook = nbformat.read(CHECKOUT / "docs" / "tutorial.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    said = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("tokens changed" in output.get("text", "") for output in said)
    figures = [output for output in said if "image/png" in output.get("data", {})]
    assert len(figures) == 2, "the figures of importance and of tokens"
