# make run: the default run. make test: the tests. make test-recipes: every published system, cut short.
# All make the environment first.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: install run test test-recipes lint clean

install: $(VENV)/installed

$(VENV)/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

run: install
	$(BIN)/snakemake --cores all

test: install lint
	$(BIN)/pytest -q -n auto -m 'not recipes'

test-recipes: install
	$(BIN)/pytest -q -n 2 tests/test_recipe_runs.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

clean:
	rm -rf $(VENV)
