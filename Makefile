# The first two commands: each makes the environment when it is missing or requirements.txt has changed, and again when
# its folder was moved, or its Python is gone or another version.
PYTHON ?= python3
BIN := .venv/bin
CHOSEN := $(if $(filter command environment,$(origin PYTHON)),$(PYTHON))
BROKEN := $(if $(wildcard .venv/.),$(shell $(BIN)/python -I .ci/venv.py check $(CHOSEN) 2>/dev/null || echo broken))
# pip.conf of some distributions would install elsewhere.
export PIP_USER := 0

# A release on this machine needs neither the Azure SDK nor what the tests need: each part is installed by its user.
PLATFORM ?= $(shell sed -n 's/^ *PLATFORM *= *//p' .env 2>/dev/null)
QUIET := $(if $(MAKE_TERMERR),,--quiet)
define INSTALL
@echo "installing $(1) into .venv"
@eval "$$($(BIN)/python lib/environment/pip_settings.py)"; $(BIN)/uv pip install $(QUIET) --compile-bytecode \
	--system-certs --python $(BIN)/python --constraint requirements.txt -r pyproject.toml $(2)
@touch $@
endef

.PHONY: release check quick env dev azure lock broken

release: env
	@$(BIN)/invoke release

check: dev
	@$(BIN)/invoke check

quick: dev
	@$(BIN)/invoke check --quick

env: .venv/installed $(if $(filter azureml,$(PLATFORM)),.venv/installed-azureml)

# What the tests and the checks need, for people who change this tool.
dev: .venv/installed-dev

.venv/installed: requirements.txt $(BROKEN)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13) and \
		"Python 3.11, 3.12 or 3.13 is needed, this is %d.%d: make $(MAKECMDGOALS) PYTHON=python3.11" % v)'
	@$(if $(BROKEN)$(if $(wildcard .venv/bin),,new),$(PYTHON) -I .ci/venv.py create)
	@$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.txt)
	$(call INSTALL,the packages of this tool,)

.venv/installed-azureml: .venv/installed
	$(call INSTALL,the Azure SDK,--extra azureml)

.venv/installed-dev: .venv/installed
	$(call INSTALL,what the tests need,--extra azureml --group dev)

# A stand-in for Azure ML on this machine: see tests/azure/README.md.
azure: dev
	@$(BIN)/python -m tests.azure --folder .azure

# Resolves pyproject.toml for every supported Python into requirements.txt.
lock: dev
	@$(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --extra azureml --group dev \
		pyproject.toml --no-header --output-file requirements.txt
