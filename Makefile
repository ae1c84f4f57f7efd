# `make demo`, `make test` and `make docs` each work as the first command in a fresh clone (Python 3.11, pip, make).
PYTHON ?= python3
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test quick lowest format docs clean

demo: $(READY)
	$(BIN)/fsrcache extract --scales 2..8 --workspace demo
	$(BIN)/fsrcache train --workspace demo
	$(BIN)/fsrcache evaluate --heads frozen --heads refit-mlp --measures accuracy --workspace demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

quick: $(READY)  # what one runs while editing
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow" -q

lowest: build/lowest.txt  # the same with the oldest versions that pyproject.toml allows, and all that a GPU would run
	$(MAKE) quick VENV=.venv-lowest CONSTRAINTS=build/lowest.txt
	.venv-lowest/bin/python -m pytest --numprocesses auto --dist worksteal -m slow tests/kernels tests/training -q

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_READY)  # a broken link, a missing reference or a page outside the navigation is an error
	$(BIN)/sphinx-build -W -n --keep-going --fresh-env -b html docs build/docs

clean:
	rm -rf build demo .venv .venv-lowest *.egg-info

build/lowest.txt: constraints-lowest.txt constraints.txt  # the first instead of the same names in the second
	mkdir -p build
	awk -F== 'FNR == NR {low[tolower($$1)]; print; next} !(tolower($$1) in low)' $^ > $@

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) pip setuptools
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --no-build-isolation --editable '.[dev]'
	touch $@

$(DOCS_READY): $(READY)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --no-build-isolation --editable '.[docs]'
	touch $@
