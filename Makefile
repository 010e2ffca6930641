# What a fresh Debian or Ubuntu needs beforehand: git, make and Python 3.11 or newer.
# Every target sets up what it uses; a second run finds it ready.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

bin := .venv/bin
# More arguments for the program that a target runs: make test ARGS='-k lease'
ARGS ?=
# Some tests alone cover little: the limit in pyproject.toml is for all of them.
coverage := $(if $(ARGS),,--cov)
# How many processes share the tests: more than there are cores, for many wait for other processes.
TEST_PROCESSES ?= $(shell echo $$(( ($$(nproc 2>/dev/null || echo 1) * 3 + 1) / 2 )))
# pyright's wrapper would ask a registry for its newest release, to advertise it.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help
help: ## show what there is (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup-run ## watch a swarm build a spreadsheet program, from a recording: no key, no cost
	@$(bin)/python examples/spreadsheet/demo.py $(ARGS)

.PHONY: test
test: setup-dev system-packages ## run the tests
	@$(bin)/python -m pytest --numprocesses=$(TEST_PROCESSES) --dist=worksteal $(coverage) $(ARGS)

.PHONY: nightly
nightly: setup-dev system-packages ## run the tests in their long form
	@$(bin)/python -m pytest --nightly --timeout=1800 --numprocesses=$(TEST_PROCESSES) \
		--dist=worksteal $(coverage) $(ARGS)

.PHONY: torture
torture: setup-dev system-packages ## break what the board stands on, and show what came of it
	@$(bin)/python -m stigmergy.testing.faults $(ARGS)

.PHONY: check
check: check-format check-lint check-types check-imports check-docs ## run every gate that is not a test

.PHONY: check-format check-lint check-types check-imports check-docs
check-format: setup-dev
	@echo "formatting"; $(bin)/ruff format --quiet --check . || \
		{ echo "to mend it: make format"; exit 1; }

check-lint: setup-dev
	@echo "lint"; $(bin)/ruff check --quiet .

check-types: setup-dev
	@echo "types"; $(bin)/pyright

check-imports: setup-dev
	@echo "import contracts"; $(bin)/lint-imports --no-cache --no-logo

check-docs: setup-dev system-packages
	@echo "docs"; $(bin)/python -m pytest -q --no-header tests/acceptance/test_docs_blocks.py \
		tests/unit/test_project_docs.py

.PHONY: format
format: setup-dev ## mend formatting, and what lint can mend by itself
	@$(bin)/ruff format .
	@$(bin)/ruff check --fix-only .

.PHONY: bench
bench: setup-dev ## run the benchmarks; each prints a ratio against a peer or a limit
	@set -e; for script in benchmarks/bench_*.py; do \
		[ -e "$$script" ] || { echo "there are no benchmarks"; exit 1; }; \
		echo "== $$script"; $(bin)/python "$$script" $(ARGS); \
	done; \
	echo "== benchmarks/board, without the other queues"; \
	PYTHONPATH=benchmarks $(bin)/python -m board --only files,events,memory $(ARGS)

.PHONY: bench-board
bench-board: .venv-bench/ready system-packages ## compare the board with other queues (ARGS='--quick')
	@PYTHONPATH=src:benchmarks .venv-bench/bin/python -m board $(ARGS)

# The other queues get an environment of their own: nothing else may come to depend on them.
.venv-bench/ready: benchmarks/board/requirements.txt | setup-run
	@echo "Installing the queues that the board is compared with …"
	@$(bin)/python -m venv --clear .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes --only-binary :all: --requirement $< >.venv-bench/setup.log 2>&1 || \
		{ cat .venv-bench/setup.log; exit 1; }
	@touch $@

.PHONY: bench-wasm
bench-wasm: setup-dev .venv-bench-wasm/ready system-packages ## compare WebAssembly agents with other ways to run them
	@PYTHONPATH=benchmarks $(bin)/python -m wasm --peer .venv-bench-wasm/bin/python $(ARGS)

.venv-bench-wasm/ready: benchmarks/wasm/requirements.txt | setup-run
	@echo "Installing what WebAssembly agents are compared with …"
	@$(bin)/python -m venv --clear .venv-bench-wasm
	@.venv-bench-wasm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes --only-binary :all: --requirement $< >.venv-bench-wasm/setup.log 2>&1 || \
		{ cat .venv-bench-wasm/setup.log; exit 1; }
	@touch $@

.PHONY: lock
lock: setup-run ## pin the dependencies anew (UPGRADE=1: move each to its newest release)
	@scripts/lock

.PHONY: clean
clean: ## remove all that was made here, .venv too
	@rm -rf .venv .venv-bench build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache \
		.pytest_cache .ruff_cache
	@find src tests scripts benchmarks examples -name __pycache__ -prune -exec rm -rf {} +

.PHONY: setup-run setup-dev system-packages
setup-run:
	@scripts/setup run

setup-dev:
	@scripts/setup dev

system-packages: setup-dev
	@$(bin)/python -B scripts/system_packages.py
