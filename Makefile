# Two commands for a fresh machine with Python 3.11 or later: `make demo` and `make test`.
# Each makes its own .venv and installs what it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Workers of the test run; two simulated devices each.
JOBS   ?= 2
PYTEST := $(BIN)/python -m pytest -q -rs -n $(JOBS)
# The compiler's own default, which the quick tests lower for the sake of time (tests/conftest.py).
OPTIMISED := XLA_FLAGS=--xla_backend_optimization_level=3
# What is always compiled so, with the shapes and dtypes of arguments checked.
EXACT   := tests/ops tests/cpu
CHECKED := --jaxtyping-packages=jaxeval.ops,beartype.beartype

.PHONY: demo test test-all lint bench docs clean

demo: $(VENV)/.demo
	$(BIN)/jaxeval demo

test: lint
	$(PYTEST) -m "not slow" $(EXACT:%=--ignore=%)
	$(OPTIMISED) $(PYTEST) -m "not slow" $(CHECKED) $(EXACT)

# The slow tests, too, with the packages that only they use; writes docs/conversion.md.
test-all: lint $(VENV)/.test-all
	$(OPTIMISED) $(PYTEST) --conversion=docs/conversion.md

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

$(VENV)/.test-all: $(VENV)/.test
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test-all]'
	touch $@

docs: $(VENV)/.test
	$(BIN)/python docs/make_metrics.py

clean:
	rm -rf $(VENV) demo
