# Everything a developer does; each target sets up what it needs, from a bare checkout.
# Needs make, and Python 3.11 or newer (PYTHON=... names one).
#
# Only what GNU make 3.81 has, which is what macOS brings along.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo run up check test simulate fuzz faults interop clients clean dev

PY := .venv/bin/python
# Of the floor's throughput, measured in the same run: two thirds of what docs/performance.md has.
LEAST_RATIO := 0.34
export INPUT KEEP LENGTH SEED SEEDS FIRST KILLS

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

demo: ## Run a workflow of three A2A agents on a CSV file (INPUT=file.csv; KEEP=1 stays up after)
	@scripts/venv .venv -e '.[demo]'
	@$(PY) -m orchestrator demo $${INPUT:+--input "$$INPUT"} $${KEEP:+--keep}

run: ## Serve on 127.0.0.1:8000, or as ORCHESTRATOR_... variables say
	@scripts/venv .venv -e .
	@exec $(PY) -m orchestrator

up: ## Start PostgreSQL, Kafka, two orchestrators and the demo's agents, until Ctrl-C (needs Java, Maven)
	@scripts/venv .venv -e '.[demo,bench]'
	@exec $(PY) -m bench up

check: dev ## Format check, linters, types, layers, unit tests
	$(PY) -m ruff format --check --quiet .
	$(PY) -m ruff check --quiet .
	$(PY) -m mypy --strict orchestrator tests scripts bench
	.venv/bin/lint-imports
	.venv/bin/hadolint Dockerfile
	.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(PY) -m pytest -q tests/unit

test: check ## `make check`, a short measurement against the floor, then all other tests
	@scripts/test-machine
	$(PY) -m bench engine --quick --rounds 5 --seconds 2 --gate $(LEAST_RATIO)
	$(PY) -m pytest -q -n 2 --dist worksteal --durations=10 tests --ignore=tests/unit

simulate: dev ## Worlds of the simulated engine: SEEDS=n of them, or SEED=n alone and with its trace
	@$(PY) -m tests.simulation $${SEED:+--seed $$SEED} $${SEEDS:+--seeds $$SEEDS} $${FIRST:+--first $$FIRST}

fuzz: dev ## A long schemathesis run against the API (LENGTH=300 seconds; SEED=1 repeats that one)
	@FUZZ_SECONDS="$${LENGTH:-300}" FUZZ_SEED="$${SEED:-$$(date +%s)}" \
		$(PY) -m pytest -q -s tests/fuzz

interop: dev ## Every behaviour with agents on every official SDK; prints the matrix, writes docs/interop.md
	@scripts/test-machine
	@$(PY) -m tests.interop

faults: dev ## Inject every fault into a real deployment under load (SEED=1 repeats one; KILLS=100)
	@scripts/test-machine
	@exec $(PY) -m bench.faults $${SEED:+--seed "$$SEED"} $${KILLS:+--kills "$$KILLS"}

clients: dev ## Generate, compile and try clients in Python, TypeScript, Java (needs Java, Maven, node)
	@scripts/clients

clean: ## Remove what was installed, built and cached here
	rm -rf .venv .venvs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .cache
	find orchestrator tests scripts bench -name __pycache__ -type d -prune -exec rm -rf {} +

dev:
	@scripts/venv .venv -e '.[dev]'
