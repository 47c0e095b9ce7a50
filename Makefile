# Two commands for a fresh machine with Python 3.11 or later: `make demo` and `make test`.
# Each makes its own .venv and installs what it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Workers of the test run; two simulated devices each.
JOBS   ?= 2

.PHONY: demo test test-all lint bench docs clean

demo: $(VENV)/.demo
	$(BIN)/jaxeval demo

test: lint
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -q -n $(JOBS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/explainers.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxeval needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

docs: $(VENV)/.test
	$(BIN)/python docs/make_metrics.py

clean:
	rm -rf $(VENV) demo
