# make run: the default run. make test: the tests. make test-recipes: every published system, cut short.
# make figures: the runs whose figures and pictures README and docs give, 40 minutes.
# make gpu: checks and measures everything on a GPU, minutes.
# make comparison: the published systems on the photos of voc-animals, 13 hours; see docs/comparison.md.
# make soak: faults and fuzzing with full counts. All make the environment first.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin

# Snakemake and pip keep caches below HOME, which a container's user may lack.
ifneq ($(shell [ -n "$$HOME" ] && [ -w "$$HOME" ] && echo writable), writable)
export HOME := $(CURDIR)/build/home
$(shell mkdir -p "$(HOME)")
endif

.PHONY: install run data figures comparison test test-recipes soak bench gpu lint clean

install: $(VENV)/installed $(VENV)/native

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $@

# The C++ module seedbed_lattice; one that was built from other sources must not stay.
$(VENV)/native: $(VENV)/installed $(wildcard $(addprefix seedbed/crf/native/,*.cpp *.hpp *.py *.toml))
	@mkdir -p build
	@$(PIP) ./seedbed/crf/native >build/native.log 2>&1 || { \
	$(BIN)/python -m pip uninstall --yes seedbed-lattice >>build/native.log 2>&1; \
	echo "No C++ module seedbed_lattice (build/native.log says why): the dense CRF runs with torch,"; \
	echo "about four times slower, and gives the same results."; }
	touch $@

run: install
	$(BIN)/snakemake --cores all

# What a recipe needs and data/ lacks: make data RECIPE=dsrg-vgg16
data: install
	$(if $(RECIPE),,$(error name the recipe: make data RECIPE=dsrg-vgg16))
	$(BIN)/python -m stages.fetch --recipe recipes/$(RECIPE).yaml

figures: install
	$(BIN)/python -m benchmarks.figures

# DATA=../elsewhere: the folder run.data. MAPS=voc-animals/saliency-u2net: maps of the learned saliency.
DATA ?= data
comparison: install
	$(BIN)/python -m benchmarks.comparison --data $(DATA) $(if $(MAPS),--maps $(MAPS))

test: install lint
	$(BIN)/pytest -q -n auto --dist worksteal -m 'not recipes and not soak'

test-recipes: install
	$(BIN)/pytest -q -n 2 tests/workflow/test_recipe_runs.py \
	    tests/workflow/test_fetch.py::test_a_published_system_runs_from_nothing_to_its_figure \
	    tests/workflow/test_extending.py::test_the_recipe_runs_to_the_final_score

soak: install
	$(BIN)/pytest -q -s -m soak

bench: install
	$(BIN)/python -m benchmarks

gpu: install
	$(BIN)/pytest -q tests/gpu
	$(BIN)/python -m benchmarks.gpu

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

clean:
	rm -rf $(VENV)
