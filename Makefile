# Needs make and Python 3.11 or newer, nothing else. Another Python: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help run test lint check chaos sdk-tests bench snapshots mutations environment lock
.DEFAULT_GOAL := help

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: environment ## Publish the samples, let the function work, show what became of everything
	@$(BIN)/python -m sandbox

test: environment ## Run all tests
	@$(BIN)/python -m pytest -n auto --dist loadgroup

lint: environment ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint ## Check style, format and types, and that the core's own tests reach all of it
	$(BIN)/python -m pytest -n auto --dist loadgroup --cov=optout_core --cov-report= tests/core
	$(BIN)/coverage report --fail-under=100 --skip-covered --include='optout_core/*.py' --omit='optout_core/adapters/*'

SEEDS ?= 14-53

chaos: environment ## Break everything, ten minutes long; SEEDS=17 runs one again, SEEDS=14-200,300 many
	@CHAOS_SEEDS=$(SEEDS) $(BIN)/python -m pytest tests/chaos/test_chaos.py

sdk-tests: environment ## Run azure-servicebus' own tests against the broker (Linux; long)
	@$(BIN)/python servicebus_sandbox/tests/sdk/run.py

bench: environment ## Compare with the floor and the usual patterns, write docs/performance.md; LONG=1 adds a million recipients
	@$(BIN)/python -m benchmarks performance $(if $(LONG),--long)

snapshots: environment ## Evaluate the templates anew for tests/infra (needs the Bicep compiler)
	@$(BIN)/python -m tests.infra.snapshots

mutations: environment ## Break the templates in some hundred ways; say which nobody would notice (needs the compiler)
	@$(BIN)/python -m tests.infra.mutations

environment: ## Make the virtual environment, or leave it alone when it is up to date
	@$(PYTHON) scripts/environment.py $(VENV) requirements-dev.txt

lock: environment ## Pin everything transitive, from pyproject.toml, for every Python from 3.11
	$(BIN)/uv pip compile pyproject.toml --extra function --universal --python-version 3.11 --no-annotate --upgrade -q -o requirements.txt --custom-compile-command "make lock"
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --no-annotate -q -o requirements-dev.txt --custom-compile-command "make lock" --constraint requirements.txt --all-extras
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.13 --no-annotate -q -o requirements-pipeline.txt --custom-compile-command "make lock" --constraint requirements-dev.txt --extra function --extra ops --extra pipeline --generate-hashes
