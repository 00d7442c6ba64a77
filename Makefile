# `make` lists the targets. PYTHON picks the interpreter; TORCH_INDEX holds extra pip arguments for the
# installation of torch, so that a build for CPU or for another CUDA version can be chosen.
PYTHON ?= python3
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := behemoth_data behemoth_models behemoth_editing behemoth_hub behemoth_cli

STUDY := study/tiny
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
.DEFAULT_GOAL := help
.PHONY: help setup demo study test slow lint types check docs gallery constraints lowest clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## create .venv and install what constraints.txt pins (PYTHON=..., TORCH_INDEX=...)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Behemoth needs Python 3.11 or \
	newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): try make setup PYTHON=python3.11" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { echo "$(PYTHON) cannot \
	create a virtual environment: install its venv module (on Debian: python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

# It goes on where it was stopped.
demo: | $(STAMP)  ## run the main job on a small nested world: data, training, editing, report
	$(OFFLINE) $(BIN)/behemoth demo

# It goes on where it was stopped, and does nothing but the report again once it is complete.
study: | $(STAMP)  ## put the paper's findings to the test: 70 models, 1,550 cells; docs/results.md gets the verdicts
	$(OFFLINE) $(BIN)/python scripts/study.py recipes/study_tiny.yaml --output_dir $(STUDY) --readme docs/results.md
	@echo "The study is complete: open $(STUDY)/report/index.html; the verdicts are in $(STUDY)/verdicts.md"

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

test: $(STAMP)  ## run the tests, on all cores, but for the slow ones
	$(PYTEST) -m "not slow"

slow: $(STAMP)  ## run the slow tests: launchers, kills, strangers, a second device, long trainings, further cases
	$(PYTEST) -m slow

lint: $(STAMP)  ## ruff: rules and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict on the packages
	$(BIN)/mypy --strict

check: lint types test slow  ## lint, types and all tests

docs: $(STAMP)  ## build the site into site/; a broken link or anchor fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

gallery: $(STAMP)  ## rewrite docs/gallery.md from the code
	$(BIN)/python tools/gallery.py --output docs/gallery.md

constraints: $(STAMP)  ## rewrite constraints.txt from what .venv holds now
	@sed -n '/^#/p' constraints.txt > $(VENV)/constraints.txt
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > $(VENV)/frozen.txt
	@grep '^torch==' $(VENV)/frozen.txt >> $(VENV)/constraints.txt
	@grep -v '^torch==' $(VENV)/frozen.txt >> $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

# uv comes into a folder of its own, so that .venv holds what it is declared to hold. Torch is the one of constraints.txt,
# and what a CUDA build of it brings along is left to torch, as there.
lowest: $(STAMP)  ## rewrite constraints-lowest.txt: the oldest versions that pyproject.toml allows, by uv
	$(BIN)/python -m pip install --quiet --upgrade --target $(VENV)/uv uv
	@grep '^torch==' constraints.txt > $(VENV)/torch.txt
	$(VENV)/uv/bin/uv pip compile --quiet --no-header --no-annotate --resolution lowest-direct --python-version 3.11 \
	  --python $(BIN)/python --override $(VENV)/torch.txt --extra editing --extra dask --output-file $(VENV)/lowest.txt \
	  pyproject.toml
	@sed -n '/^#/p' constraints-lowest.txt > $(VENV)/constraints-lowest.txt
	@sed 's/+[a-z0-9.]*$$//' $(VENV)/lowest.txt | grep -v '^\(cuda\|nvidia\|triton\)' >> $(VENV)/constraints-lowest.txt
	@mv $(VENV)/constraints-lowest.txt constraints-lowest.txt

clean:  ## remove what the demo, the tests and the build wrote; .venv and the study stay
	rm -rf behemoth runs/demo-nested results/demo report site build dist *.egg-info \
	  .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(PACKAGES) scripts tools tests -name __pycache__ -prune -exec rm -rf {} +
