# SPDX-License-Identifier: Apache-2.0
# Everything starts from nothing: each target makes the virtual environment it needs.
# As root on Debian missing packages are installed; anybody else is told which.

VENV ?= .venv
KERNEL ?= 7.3
PY := $(VENV)/bin/python
READY := $(VENV)/installed
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-unit test-lab test-idle check lab bench bench-outcomes schema docs wheel clean

help: ## this list
	@sed -n 's/^\([a-z -]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(READY): pyproject.toml .ci/venv
	@.ci/venv $(VENV)

venv: $(READY) ## the virtual environment, with everything tests need

demo: $(READY) ## show an agent at work on this machine; GUEST=1: in a guest with all of DAMON
	@$(PY) -m tests.guest.demo $(if $(GUEST),--guest)

test: check ## everything: check, unit tests, real kernels 6.1, 6.12 and 7.3 (root)
	@$(PY) -m tests.tiers unit lab

test-unit: check ## everything that needs neither root nor a guest
	@$(PY) -m tests.tiers unit

test-lab: $(READY) ## the tests on real kernels (root)
	@$(PY) -m tests.tiers lab

test-idle: $(READY) ## idle page tracking; builds a kernel first, once (root)
	@$(PY) -m tests.vm.build_idle
	@$(PY) -m tests.tiers idle

check: $(READY) ## style, types, floors, and generated files being fresh
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=. $(VENV)/bin/lint-imports
	$(PY) -m damos_agent.config.schema --check schemas
	$(PY) -m damos_agent.config.reference --check docs
	$(PY) -m damos_agent.agent.event_doc --check .

lab: $(READY) ## a shell on a real kernel: make lab KERNEL=6.12; or RUN='uname -r'
	@$(PY) -m tests.vm --kernel $(KERNEL) $(if $(RUN),-- sh -c '$(RUN)',--shell)

bench: $(READY) ## figures: memory, CPU, latency, writes, accuracy, savings (root)
	@$(PY) -m tests.bench

bench-outcomes: $(READY) ## what reclaim saves and costs, beside damo and others: docs/benchmarks/ (root)
	@$(PY) -m tests.bench.outcomes

schema docs: $(READY) ## generate schemas/ and the reference pages in docs/
	$(PY) -m damos_agent.config.schema schemas
	$(PY) -m damos_agent.config.reference docs
	$(PY) -m damos_agent.agent.event_doc .

wheel: $(READY) ## dist/*.whl
	@rm -rf dist
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist

clean: ## remove what was made here, but not the kernels' cache
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
