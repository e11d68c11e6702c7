# Bare `make` lists the targets. Paths are relative, so that a clone may lie under a path with a space in it.
.DEFAULT_GOAL := help
.PHONY: help install web test test-provision lint types format demo bench cuts torture fuzz lock docs clean
PYTHON_IN_VENV := .venv/bin/python
# Node, which builds the web page, trusts what the system trusts, as everything else here does.
export NODE_USE_SYSTEM_CA := 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

install: ## make .venv with everything, at the locked versions
	@scripts/install

web: install ## build the centre's web page
	@$(PYTHON_IN_VENV) scripts/build_web.py

demo: web ## show the whole product working; DEMO_SECONDS=90 for a short story that ends by itself
	@$(PYTHON_IN_VENV) -m tests.demo

test: install web ## lint, types, import rules and all tests, against real parts
	@scripts/parts
	@$(MAKE) --no-print-directory lint types
	@$(PYTHON_IN_VENV) -m pytest --numprocesses 2 --dist loadfile

test-provision: install web ## the playbook on hosts that boot here, as root; SUITE=trixie for Debian 13
	@scripts/apt-install debootstrap systemd-container openssh-client iproute2 || true
	@$(PYTHON_IN_VENV) -m pytest tests/provision/trial_playbook.py

lint: install ## style and import rules
	@$(PYTHON_IN_VENV) -m ruff check .
	@$(PYTHON_IN_VENV) -m ruff format --check .
	@.venv/bin/lint-imports

types: install ## mypy --strict
	@$(PYTHON_IN_VENV) -m mypy

format: install ## let ruff mend style
	@$(PYTHON_IN_VENV) -m ruff check --fix .
	@$(PYTHON_IN_VENV) -m ruff format .

bench: install ## every figure, with its peer; ONLY=name for one
	@scripts/parts
	@$(PYTHON_IN_VENV) -m tests.bench

cuts: install ## power cuts under agent and centre; CUTS=1000 SEED=1, GO_ON=1 takes up a run that was broken off
	@scripts/parts
	@$(PYTHON_IN_VENV) -m tests.cuts

torture: install ## a city under random faults, and the account of every picture; MINUTES=10 SITES=3 SEED=
	@scripts/parts
	@$(PYTHON_IN_VENV) -m tests.torture

fuzz: install ## input that nobody would send, for long; MINUTES=n for each target, ONLY=target, RECORD=yes
	@$(PYTHON_IN_VENV) -m tests.fuzz

docs: install ## write the generated documents anew
	@$(PYTHON_IN_VENV) -m tests.documents

lock: install ## resolve the dependencies anew into requirements/*.lock
	@scripts/lock

clean: ## remove everything that is made
	@git clean -fdXq
