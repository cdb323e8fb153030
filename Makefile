# make run: the land-use run, from a clean clone to results/landuse/report.html. make test: the whole test suite.

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run full test test-quick test-slurm bench rehearsal docs lint clean

run: .venv/run
	$(BIN)/snakemake --cores all --logger cortex

# With the studies of config.yaml, on the same page.
full: .venv/run
	$(BIN)/snakemake --cores all full --logger cortex

# A file's tests run in one process, the longest files first: see tests/conftest.py.
test: .venv/dev lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --ignore=tests/workflow/test_slurm.py

# The tests without Snakemake and without the slowest: under two minutes on two cores.
test-quick: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not workflow and not slow" tests/unit

# The workflow through sbatch, on a SLURM that the tests start: needs root, and Debian's slurm-wlm and munge.
test-slurm: .venv/dev
	$(BIN)/python -m pytest tests/workflow/test_slurm.py

# How fast the hot paths are, beside plain formulations timed in the same run: about five minutes. The help of
# .venv/bin/python -m tests.bench says how these differ from the released code.
bench: .venv/dev
	$(BIN)/python -m tests.bench

# The paper's numbers of images through all rules, with small networks: time and memory by rule, and how they grow. It can
# be interrupted, and goes on. About an hour on two cores, 4 GB.
rehearsal: .venv/dev
	$(BIN)/python -m tests.rehearsal

# The documentation as a site, site/index.html, which opens without a server.
docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules cortex/studies
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	$(BIN)/codespell

# What a run needs. taming-transformers declares torchvision and pytorch-lightning, which the modules used here do
# not need: hence --no-deps.
.venv/run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) --editable .
	$(PIP_INSTALL) --no-deps taming-transformers
	touch $@

.venv/dev: .venv/run
	$(PIP_INSTALL) --editable .[dev]
	touch $@

clean:
	rm -rf .venv .snakemake results site
