# The first two commands: each makes the environment when it is missing or requirements.txt has changed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: release check quick env azure lock

release: env
	@$(BIN)/invoke release

check: env
	@$(BIN)/invoke check

quick: env
	@$(BIN)/invoke check --quick

env: .venv/installed

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13) and \
		"Python 3.11, 3.12 or 3.13 is needed, this is %d.%d: make $(MAKECMDGOALS) PYTHON=python3.11" % v)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.txt)
	@$(BIN)/uv pip install --quiet --compile-bytecode --system-certs --python $(BIN)/python -r requirements.txt
	@touch $@

# A stand-in for Azure ML on this machine: see tests/azure/README.md.
azure: env
	@$(BIN)/python -m tests.azure --folder .azure

# Resolves pyproject.toml for every supported Python into requirements.txt.
lock: env
	@$(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --group dev pyproject.toml \
		--no-header --output-file requirements.txt
