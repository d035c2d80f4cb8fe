# The project's few words. `make run` is all a newcomer needs: it installs what serving needs into .venv, then serves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# All tests are run by two processes, chosen ones by one, which starts sooner. See docs/design/tests.md.
TEST_PROCESSES ?= 2

# Byte code is kept, whatever the shell says: without it every process compiles the sources of PyTorch anew, in 15 seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench

help: ## Say what each word does
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F '|' '{printf "  make %-6s %s\n", $$1, $$2}'

setup: $(VENV)/.installed-dev ## Install the project with everything that its tests need into .venv

run: $(VENV)/.installed ## Serve the shipped judge on http://127.0.0.1:8000 (ARGS="--port 9000" for options)
	$(BIN)/vl-genrm serve $(ARGS)

test: $(VENV)/.installed-dev ## Run the tests (ARGS="-k verdict" to choose)
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses $(TEST_PROCESSES) --dist worksteal)

check: $(VENV)/.installed-dev ## Formatting, lint, types and layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed ## Speed of the HTTP service and of the in-process engine on this machine
	$(BIN)/python bench/serving.py -- --experts none
	$(BIN)/python bench/serving.py
	$(BIN)/python bench/engine.py

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Say make PYTHON=python3.12, for instance."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Byte code is left to the first import: compiling what is never imported would take longer than the rest of the installation.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing into $(VENV): mostly PyTorch, several GB, a few minutes the first time."
	$(BIN)/pip install --no-compile -c constraints.txt -e '.[ui]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing into $(VENV): mostly PyTorch, several GB, a few minutes the first time."
	$(BIN)/pip install --no-compile -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed
