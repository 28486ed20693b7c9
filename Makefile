# The commands for development. Each one first creates or updates .venv if necessary.
PYTHON ?= python3
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
BUILDERS := editables hatchling setuptools

.PHONY: setup run test test-slow test-slurm test-slurm-fast test-tools test-browser check format clean
.DELETE_ON_ERROR:

setup: .venv/.installed

# Reinstalls when the requirements change. First come the tools that build this package and what has no wheel: pip would
# fetch others, of any version, for an isolated build.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 10) else "Python 3.10 or newer is required, but %s is %d.%d; try make PYTHON=python3.12 ..." % (sys.executable, *v))'
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) $(BUILDERS)
	$(BIN)/python $(PIP) --no-build-isolation --use-pep517 --editable '.[samples,translation,dev]'
	@touch $@

run: setup
	$(BIN)/finetune run recipes/sentiment_bilstm.py --train.overwrite
	$(BIN)/finetune run recipes/sentiment_bert.py --train.overwrite
	$(BIN)/finetune compare runs/sentiment-bilstm runs/sentiment-bert --html runs/comparison.html

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m 'slow and not slurm'

test-slurm: setup
	$(BIN)/python -m pytest -n 0 -m slurm

test-slurm-fast: setup
	$(BIN)/python -m pytest -n 0 -m 'slurm and not slow' tests/slurm -rs

# Tools of other libraries, in an environment of their own: they change what transformers imports.
.venv-tools/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python $(PIP) $(BUILDERS)
	.venv-tools/bin/python $(PIP) --no-build-isolation --use-pep517 --editable '.[dev,tools]'
	@touch $@

test-tools: .venv-tools/.installed
	.venv-tools/bin/python -m pytest -m tools tests/tools

# The pages of comparisons and demos in a real browser; installs Chromium if it is missing and this is root.
test-browser: setup
	$(BIN)/python -m pytest -n 0 -m browser tests/compare/page tests/demo -rs

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/wheels.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-tools .venv-peers build dist runs .pytest_cache .ruff_cache .mypy_cache
