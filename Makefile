# The everyday words. Each target first makes .venv ready: on a fresh clone, and again when pyproject.toml changed.
# Another Python: `make train PYTHON=/path/to/python3.12`. Options of the run: `make train ARGS="--seed 1 --out runs/two"`.

PY := .venv/bin/python
ARGS ?=
# Small matrices and many processes: one thread each is faster than all of them on every core (and steadier).
export OMP_NUM_THREADS ?= 1
# llvmpipe, the software GL driver, otherwise starts a thread a core for every renderer.
export LP_NUM_THREADS ?= 1

.PHONY: help setup train test slow lint format bench bench-peers effects faults clean
.DEFAULT_GOAL := help

help: ## show these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.ready ## make .venv: Python packages, and a check of GL for MuJoCo

.venv/.ready: pyproject.toml constraints.txt scripts/setup.sh
	@PYTHON="$(PYTHON)" bash scripts/setup.sh
	@touch $@

train: .venv/.ready ## train the shipped base by reinforcement learning in both worlds; writes runs/<name>/report.html
	$(PY) -m training train $(ARGS)

test: .venv/.ready ## all fast tests (minutes)
	$(PY) -m pytest $(ARGS)

slow: .venv/.ready ## the long checks: 200 seeds a task, both splits, and others
	$(PY) -m pytest -m slow $(ARGS)

lint: .venv/.ready ## ruff (rules and format) and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: .venv/.ready ## let ruff put the code in its format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: .venv/.ready ## speed of the worlds against named baselines; writes benchmarks/out/worlds.json
	$(PY) -m benchmarks.worlds $(ARGS)

bench-peers: .venv/.ready ## speed against TRL and others in environments of their own; writes benchmarks/results/
	@bash scripts/peers.sh
	$(PY) -m benchmarks.peers $(ARGS)

effects: .venv/.ready ## learning experiments of hours
	$(PY) -m pytest -m effects $(ARGS)

faults: .venv/.ready ## plant faults in real runs and see what comes of them (hours; ARGS="--scale 0.1": minutes)
	$(PY) -m benchmarks.faults $(ARGS)

clean: ## remove .venv, .peers and the caches; runs/ stays
	rm -rf .venv .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis
