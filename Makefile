# One command each: make demo, make test. Everything lives in .venv and workspace.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test lint check benchmark clean

help:
	@echo "make demo       install, build the embedded data set, train, evaluate, show captions"
	@echo "make test       install and run the whole test suite"
	@echo "make lint       style, types and import contracts"
	@echo "make check      test and lint: what CI runs"
	@echo "make benchmark  compare two ways of doing a job, slowly"
	@echo "make install    install only; $(BIN)/r2m then lists the commands"
	@echo "make clean      remove .venv and caches (never the workspace)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The pip that Python 3.10 installs does not finish resolving the extras.
$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --upgrade 'pip>=24'
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(VENV)/installed

demo: install
	$(BIN)/r2m-demo --home=workspace

# Without --max-worker-restart=0, pytest-xdist waits forever after a worker has crashed.
test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --durations=30

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

benchmark: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/benchmarks -s --override-ini=addopts=--import-mode=importlib --timeout=3600

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
