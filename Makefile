# One command for each thing to do with simlab; each sets up .venv first where that is needed.
# Choose the Python that .venv is made of with PYTHON=, what a course runs on with DATA=, OUT=, SEED=.

PYTHON ?= python3
DATA ?= shop
OUT ?= runs/course
SEED ?= 0
JOBS ?= 2

BIN := .venv/bin
READY := .venv/ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME

CODE := simlab tests benchmarks notebooks/conftest.py
NBVAL := -p nbval --nbval --nbval-current-env --nbval-cell-timeout 120

# Compiled for this processor alone, lightfm would learn other last digits on another one; its plain build is as fast here.
PLAIN := LIGHTFM_NO_CFLAGS=1
LIGHTFM = `grep -o '^lightfm-next==[0-9.]*' requirements.txt`

NEEDS_PYTHON := "simlab needs Python 3.11, 3.12 or 3.13 (another than python3 is chosen with make PYTHON=python3.12)"
NEEDS_VENV := "$(PYTHON) lacks the module venv, which makes virtual environments: on Debian, apt-get install python3-venv"
NEEDS_COMPILER := "the packages could not be installed (see above); on Python 3.11 lightfm-next is compiled, which needs a" \
  "C compiler and the headers of Python: on Debian, apt-get install gcc python3-dev"

.DEFAULT_GOAL := help
.PHONY: help venv empty-venv course test check lab bench notebooks soak lock clean

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

venv: $(READY) ## set up .venv from requirements.txt (done by the others when needed)

# Made anew when the pinned versions or our own description change; the stamp comes last, so a broken set-up is repeated.
$(READY): requirements.txt pyproject.toml
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(MAKE) --no-print-directory empty-venv
	@echo "installing the packages of requirements.txt (a minute or two, once)"
	@$(PLAIN) $(BIN)/python -m pip install --quiet --no-cache-dir --no-deps $(LIGHTFM) || { echo $(NEEDS_COMPILER) >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet -r requirements.txt || { echo $(NEEDS_COMPILER) >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $(READY)

empty-venv:
	@command -v $(PYTHON) >/dev/null || { echo $(NEEDS_PYTHON): $(PYTHON) is not here >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo $(NEEDS_PYTHON): $(PYTHON) is `$(PYTHON) --version 2>&1` >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo $(NEEDS_VENV) >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv

course: $(READY) ## run all notebooks in order: DATA=shop|movielens-100k OUT=runs/course SEED=0
	@$(BIN)/simlab course --data "$(DATA)" --out "$(OUT)" --seed "$(SEED)"

test: $(READY) ## run every test, doctest and notebook
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(NBVAL) tests simlab notebooks

check: $(READY) ## all that must hold before a push: format, lint, types, import contracts, notebooks, tests
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m simlab.lab.notebooks lint notebooks
	$(MAKE) --no-print-directory test

lab: $(READY) ## open JupyterLab on copies of the notebooks in runs/lab, without their answers
	@$(BIN)/python -m simlab.lab.notebooks desk notebooks >/dev/null
	$(BIN)/jupyter lab runs/lab/00_start_here.ipynb

bench: $(READY) ## measure speed and size
	$(BIN)/python -m benchmarks.world
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.monitoring

notebooks: $(READY) ## execute the notebooks and store them in their normal form
	$(BIN)/python -m simlab.lab.notebooks write notebooks

soak: $(READY) ## run the long proofs
	$(BIN)/python -m pytest -m soak tests

lock: ## pin every package anew (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	uv pip compile --universal --python-version 3.11 --extra dev --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.txt

clean: ## remove .venv and caches; runs and data stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find simlab tests benchmarks notebooks -name __pycache__ -type d -exec rm -rf {} +
