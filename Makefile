# charon: set up, test, show, measure. Each target says what it does; see "make help".

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard charon_plugins/*/pyproject.toml))
PROJECTS := pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
# The tests that share nothing run side by side; the others have the machine for themselves.
FAST := $(wildcard tests/unit tests/exchange tests/plugins)
SLOW := $(wildcard tests/system tests/interop tests/kernel)

# Whatever the shell says: without compiled bytecode each start of a program takes a second.
export PYTHONDONTWRITEBYTECODE :=

# Bold on a terminal only: what goes into a file or a pipe stays plain text.
say = @[ -t 1 ] && b='\033[1m' e='\033[0m'; printf "$$b==> %s$$e\n"

.DEFAULT_GOAL := help
.PHONY: help setup lint format test test-fast check-all demo bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Make .venv with the core, all plugins and the tools (quick when done)

$(VENV)/.ready: $(PROJECTS) Makefile
	$(say) "Python environment in $(VENV)"
	@PYTHON=$(PYTHON) tools/make-venv $(VENV)
	$(say) "Installing charon-core, $(words $(PLUGINS)) plugin(s) and the tools (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on \
		--group dev -e '.[fast]' $(addprefix -e ./,$(PLUGINS)) | tools/show-progress
	@touch $@
	$(say) "Ready: $$($(BIN)/charon --version)"

lint: setup ## Check style, format, types and who imports whom
	$(say) "Style (ruff)"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }
	$(say) "Types (mypy, strict)"
	@$(BIN)/mypy
	$(say) "Who may import whom (import-linter)"
	@$(BIN)/lint-imports --no-logo

format: setup ## Bring the code into its form
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format

test: lint ## All checks and all tests that this machine can run
	$(say) "Tests: one component each, both peers in one process, plugins"
	@$(BIN)/pytest -q -n auto $(FAST)
	$(say) "Tests: distributions, strongSwan as the peer, a kernel in QEMU"
	@$(BIN)/pytest -q $(SLOW)

test-fast: setup ## The tests that take seconds
	$(say) "Tests: one component each, both peers in one process, plugins"
	@$(BIN)/pytest -q -n auto $(FAST)

check-all: ## As test, but what cannot run here counts as failed
	@CHARON_REQUIRE_ALL=1 $(MAKE) test

demo: setup ## Two gateways, a tunnel between them, a ping; no root needed
	$(say) "Demonstration: moon and sun build a tunnel"
	@$(BIN)/python -m demo

bench: setup ## What a handshake costs, and memory of each established pair
	$(say) "Measuring (load from a second process)"
	@$(BIN)/python -m bench

clean: ## Remove what was built, the environment included
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
