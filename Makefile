# Everything here sets up .venv by itself, on a machine that has Python 3.11 with venv, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet
INSTALL := install --require-hashes --only-binary :all:
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
PROJECTS := pyproject.toml $(PLUGINS:=/pyproject.toml)
UNFIT = { echo "If a dependency is new or has other versions, run: make lock"; false; }
LOWEST := build/lowest
PREFIX := /opt/kmetad
# For each dependency the tests that show most of it, and real daemons.
QUICK := $(addprefix tests/test_,watch*.py inotify.py plugins.py plugins_hooks.py lane.py log.py config_*.py \
	api_client.py api_call.py api_watch.py api_kubeconfig.py daemon.py) \
	plugins/kmetad-ambassador/tests/test_ambassador_[ph]*ing.py plugins/kmetad-status/tests/test_status_[dhms]*.py

# What the caller's shell has set for other Pythons must not leak into this one.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test bench soak fuzz lowest lock audit reference bundle image fix clean

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

lowest: $(LOWEST)/kmetad.done ## the quick tests, with the lowest versions of everything that kmetad depends on
	$(LOWEST)/bin/python -m pytest --quiet --numprocesses=auto --maxprocesses=4 --dist=loadscope $(QUICK)

lock: $(VENV)/pip.done ## fit requirements/ to each pyproject.toml; newer versions too: make lock UV=--upgrade
	@$(PIP) $(INSTALL) --constraint requirements/tools.txt uv
	@$(BIN)/python requirements/lock.py $(UV)

audit: $(VENV)/audit.done ## look for known faults of what requirements/ names; asks PyPI's own service
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements/build.txt --requirement requirements/tools.txt

reference: $(VENV)/dev.done ## write docs/reference anew, from the code
	$(BIN)/python -m tests.reference

bundle: ## kmetad with its own interpreter, for any image: build/bundle, dist/kmetad-….tar.gz
	@$(PYTHON) container/environment.py build/environment
	@build/environment/bin/python -m container.bundle --prefix $(PREFIX) --archive dist

image: bundle ## that as a container image, without an engine: dist/kmetad-….oci.tar
	@build/environment/bin/python -m container.image

fix: $(VENV)/dev.done ## format, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and everything that was made
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# Nothing is installed but what requirements/ names, with its hash; docs/supply.md explains it.
$(VENV)/pip.done: requirements/build.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "kmetad needs Python 3.11 or later; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.11 …" % v[:2])'
	@echo "Setting up $(VENV) (once, about half a minute) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) $(INSTALL) --requirement $<
	@touch $@

$(VENV)/kmetad.done: $(VENV)/pip.done requirements/run.txt $(PROJECTS) scripts/kmetad
	@$(PIP) $(INSTALL) --requirement requirements/run.txt
	@$(PIP) install --no-index --no-build-isolation --editable . $(PLUGINS:%=--editable %) || $(UNFIT)
	@touch $@

$(VENV)/%.done: $(VENV)/kmetad.done requirements/tools.txt
	@echo "Installing the tools for '$*' …"
	@$(PIP) $(INSTALL) --constraint requirements/tools.txt --group $* || $(UNFIT)
	@touch $@

$(LOWEST)/kmetad.done: requirements/lowest.txt $(PROJECTS)
	@echo "Setting up $(LOWEST) …"
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST)/bin/python -m pip --quiet --quiet $(INSTALL) --requirement requirements/lowest.txt
	@$(LOWEST)/bin/python -m pip --quiet --quiet install --no-index --no-build-isolation --editable . $(PLUGINS:%=--editable %) || $(UNFIT)
	@touch $@
