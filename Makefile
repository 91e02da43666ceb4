# Needs make and Python 3.11 or newer, nothing else. Another Python: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help run test lint check bench environment lock
.DEFAULT_GOAL := help

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: environment ## Publish the samples, let the function work, show what became of everything
	@$(BIN)/python -m sandbox

test: environment ## Run all tests
	@$(BIN)/python -m pytest -n auto

lint: environment ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint ## What CI runs: lint, then all tests with coverage
	$(BIN)/python -m pytest -n auto --cov
	$(BIN)/coverage report --fail-under=100 --skip-covered --include='optout_core/*.py' --omit='optout_core/adapters/*'

bench: environment ## Compare with the floor and the usual patterns, write docs/performance.md; LONG=1 adds a million recipients
	@$(BIN)/python -m benchmarks performance $(if $(LONG),--long)

environment: ## Make the virtual environment, or leave it alone when it is up to date
	@$(PYTHON) scripts/environment.py $(VENV) requirements-dev.txt

lock: environment ## Pin everything transitive, from pyproject.toml, for every Python from 3.11
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --no-annotate --upgrade -q -o requirements.txt --custom-compile-command "make lock"
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --no-annotate -q -o requirements-dev.txt --custom-compile-command "make lock" --constraint requirements.txt --all-extras
