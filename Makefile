# Everything here sets up .venv by itself, on a machine that has Python 3.11 with venv, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
PROJECTS := pyproject.toml $(PLUGINS:=/pyproject.toml)

# What the caller's shell has set for other Pythons must not leak into this one.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test bench soak fuzz fix clean

help: ## this list
	@awk -F ': .*## ' '/^[a-z]+:.* ## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/kmetad.done ## see the main job in a minute, no cluster needed
	@$(BIN)/python -m kmetad demo # not the script, whose first line can't hold a path with blanks

test: $(VENV)/dev.done ## every gate: ruff, mypy, import layers, pytest with coverage
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --cov --numprocesses=auto --maxprocesses=4 --dist=loadscope

bench: $(VENV)/bench.done ## measure kmetad beside other watchers (about six minutes)
	$(BIN)/python -m bench

soak: $(VENV)/dev.done ## 2,000 schedules of faults, a storm of ten minutes, ten million lines (a quarter of an hour)
	$(BIN)/python -m tests.soak

fuzz: $(VENV)/soak.done ## a million inputs for each reader of bytes that others may write (a quarter of an hour)
	$(BIN)/python -m tests.soak.fuzz

fix: $(VENV)/dev.done ## format, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and everything that was made
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/kmetad.done: $(PROJECTS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "kmetad needs Python 3.11 or later; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.11 …" % v[:2])'
	@echo "Setting up $(VENV) (once, about half a minute) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable . $(PLUGINS:%=--editable %)
	@touch $@

$(VENV)/%.done: $(VENV)/kmetad.done
	@echo "Installing the tools for '$*' …"
	@$(PIP) install "pip>=25.1" # the first that knows dependency groups
	@$(PIP) install --group $*
	@touch $@
