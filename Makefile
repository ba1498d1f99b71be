# make demo and make test are the commands of the README. Every target installs what is missing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := searchd cli api detection elastic_pool workers tests benchmarks
# Many small operators are faster with one thread per process than with several.
export OMP_NUM_THREADS ?= 1

FUZZ_EXAMPLES ?= 50

# Tests that share fixtures stay together: see tests/conftest.py. A process of tests that crashes ends
# the run: replaced by another one, it would leave xdist 3.8 waiting for ever.
PARALLEL ?= -n auto --dist loadgroup --no-loadscope-reorder --max-worker-restart=0

.PHONY: help install demo demo-pool test test-fast test-gpu chaos test-deploy matrix fuzz bench check format coverage clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install:  ## Install what is missing into .venv
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/install

demo: install  ## Run a complete search on synthetic data, from installation to a Pareto front
	@$(BIN)/searchd demo $(DEMO_ARGS)

demo-pool: install  ## Train the teachers that the demo imports: about 10 minutes on one core
	@$(BIN)/python -m benchmarks.demo_pool $(DEMO_POOL_ARGS)

test: install  ## Run all tests that need no GPU
	@$(BIN)/python -m pytest $(PARALLEL) $(TEST_ARGS)

test-fast: install  ## Run the tests that start neither Ray nor the service
	@$(BIN)/python -m pytest $(PARALLEL) -m "not e2e and not gpu and not chaos and not matrix and not deploy" $(TEST_ARGS)

test-gpu: install  ## Check what needs a GPU, and measure on it; at most 8 minutes
	@$(BIN)/python scripts/gpu_check.py $(GPU_ARGS)

chaos: install  ## Run the fault matrix: kill, freeze or disconnect every part of a service; up to 25 minutes
	@SEARCHD_CHAOS_STRICT=1 $(BIN)/python -m pytest tests/chaos -m "chaos or e2e" --log-cli-level=INFO $(TEST_ARGS)

test-deploy: install  ## Lint what is in deploy/, and run a search through the services of docker-compose.yml
	@VENV=.venv-control EXTRAS=control scripts/install
	@$(BIN)/python -m pip --disable-pip-version-check install -q -e ".[deploy]"
	@$(BIN)/python -m pytest tests/deploy -m "deploy or not deploy" --log-cli-level=INFO $(TEST_ARGS)

matrix: install  ## Export every detector family with every block kind in every format and precision; up to an hour of CPU time
	@$(BIN)/python -m pytest $(PARALLEL) tests/detection/deployment -m matrix $(TEST_ARGS)

fuzz: install  ## Run the property tests at full strength, thousands of API requests among them
	@SEARCHD_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -m "fuzz or hypothesis" \
	  --timeout=3600 --log-cli-level=INFO $(TEST_ARGS)

bench: install  ## Measure how the service behaves as searches grow; writes benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks.scale $(BENCH_ARGS)

check: install  ## Check format, lint, types, the dependency rule and spelling
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs $(PACKAGES)

format: install  ## Format the code and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

coverage: install  ## Measure the branch coverage of searchd.domain, searchd.search and specs
	@$(BIN)/python -m pytest tests/searchd/domain tests/searchd/search tests/searchd/spec/test_spec.py \
	  --cov=searchd.domain --cov=searchd.search --cov-branch --cov-report=term-missing

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .venv-control .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
