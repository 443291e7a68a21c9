# `make` lists the targets. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3
# make histories HISTORIES_SECONDS=60 HISTORIES_SEED=5000
HISTORIES_SECONDS ?= 3600
HISTORIES_SEED ?= 1

# The tests start the tap hundreds of times, so let Python cache its bytecode.
unexport PYTHONDONTWRITEBYTECODE

CODE := benchmarks examples fake_listrak tap_listrak tests
PIP_INSTALL := bin/pip install -qq --disable-pip-version-check
# Versions of build tools are locked as well; older and newer pips read these variables.
LOCKED_BUILD := PIP_CONSTRAINT=requirements-dev.txt PIP_BUILD_CONSTRAINT=requirements-dev.txt
LOCK_PINS := .venv-lock/bin/uv pip compile -q --upgrade --universal --no-annotate \
	--custom-compile-command 'make lock'
REQUIREMENTS := tests/integration/requirements
# Airflow's is a lock already.
LOCKED := $(filter-out airflow.txt,$(notdir $(wildcard $(REQUIREMENTS)/*.txt)))

# An environment is rebuilt if what it installs, or its Python, changes.
MADE := made-with-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
DEV := .venv/$(MADE)
LEAST := .venv-least/$(MADE)
LOCK := .venv-lock/$(MADE)
DEMO_TAP := examples/demo/out/tap/$(MADE)
DEMO_TARGET := examples/demo/out/target/$(MADE)
DEMO_MODELS := examples/demo/out/models/$(MADE)
# Fails in one line, before anything is installed. Must run on any Python.
FITS_DEMO := @$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 14) or sys.exit( \
	"The demo needs Python 3.10 to 3.14, and $(PYTHON) is %d.%d. Name another: make demo PYTHON=python3.14" % v)'

# Tests of many runs cover hardly a line that others do not, and take twice as long under coverage.
WITHOUT_COVERAGE := $(addprefix tests/test_,$(addsuffix .py,benchmarks endings fake_listrak fault_matrix further_streams \
	histories hostile_replies kills resume set_aside stopped tls turns))
# Many tests wait for another process, so one worker more than CI's cores is faster.
IN_PARALLEL := -n 3

.PHONY: help demo test long histories mutants least compat models browser commands airflow snowflake bench lock clean
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: ## Sync a made-up account on this machine, and write a report
	$(FITS_DEMO)
	@$(MAKE) --no-print-directory -j3 $(DEMO_TAP) $(DEMO_TARGET) $(DEMO_MODELS)
	@examples/demo/out/models/bin/python examples/demo/demo.py

test: $(DEV) ## Check style and types, run the tests
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy $(CODE)
	.venv/bin/coverage erase
	.venv/bin/coverage run -m pytest $(IN_PARALLEL) --dist worksteal -m "not long" \
		$(addprefix --ignore=,$(WITHOUT_COVERAGE))
	.venv/bin/coverage combine -q
	.venv/bin/coverage report
	.venv/bin/pytest $(IN_PARALLEL) --dist worksteal -m "not long" $(WITHOUT_COVERAGE)

long: $(DEV) ## Run the full fault matrix, fifty kills, an hour of histories and the mutants (two hours)
	.venv/bin/pytest $(IN_PARALLEL) --dist worksteal -m long
	$(MAKE) histories mutants

least: $(LEAST) ## Run the tests with the lowest versions that setup.py allows
	.venv-least/bin/pytest -n 2 -m "not long"

histories: $(DEV) ## Play random histories of runs, kills and faults, for an hour
	.venv/bin/python -m tests.histories --processes 2 \
		--first $(HISTORIES_SEED) --seconds $(HISTORIES_SECONDS)

mutants: $(DEV) ## Break the tap in every way that the histories must notice (ten minutes)
	.venv/bin/python -m tests.histories.mutants

compat: $(DEV) ## Run the tap's wheel with targets and runners (needs PostgreSQL's server)
	.venv/bin/pytest tests/integration $(IN_PARALLEL) --dist worksteal -k "not Snowflake" \
		$(addprefix --ignore=tests/integration/test_,airflow.py commands.py report.py)

models: $(DEV) ## Build and test the dbt models on DuckDB and PostgreSQL
	.venv/bin/pytest tests/integration/test_models.py -n 2

browser: $(DEV) ## Open the report in a browser (needs Debian's chromium)
	.venv/bin/pytest tests/integration/test_report.py

commands: $(DEV) ## Run the commands of README and docs in their order (five minutes; needs PostgreSQL's server)
	.venv/bin/pytest tests/integration/test_commands.py

airflow: $(DEV) ## Sync an account in Airflow's tasks (needs PostgreSQL's server)
	.venv/bin/pytest tests/integration/test_airflow.py

snowflake: $(DEV) ## Load tables by target-snowflake's SQL on an emulator (installs 400 MB; Python 3.11 or newer)
	.venv/bin/pytest tests/integration/test_targets.py -k Snowflake

bench: $(DEV) ## Compare speed and memory with a bare loop and zeep (about eight minutes)
	.venv/bin/python -m benchmarks

lock: $(LOCK) ## Update the versions that CI installs to the newest allowed
	$(LOCK_PINS) --python-version 3.10 --extra dev setup.py -o requirements-dev.txt
	set -e; cd $(REQUIREMENTS); for name in $(LOCKED); do \
		$(CURDIR)/$(LOCK_PINS) --python-version 3.11 $$name -o locked/$$name; done

clean: ## Remove the environments and all other generated files
	rm -rf .venv .venv-least .venv-lock .environments examples/demo/out build dist *.egg-info .coverage* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV): setup.py requirements-dev.txt
	$(PYTHON) -m venv --clear .venv
	$(LOCKED_BUILD) .venv/$(PIP_INSTALL) -r requirements-dev.txt -e .
	@touch $@

$(LOCK):
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/$(PIP_INSTALL) uv
	@touch $@

$(LEAST): $(DEV) tests/support/least_versions.py
	$(PYTHON) -m venv --clear .venv-least
	.venv/bin/python -m tests.support.least_versions > .venv-least/constraints.txt
	.venv-least/$(PIP_INSTALL) -c .venv-least/constraints.txt -e '.[dev]'
	@touch $@

# As users install it: from a wheel.
$(DEMO_TAP): setup.py $(wildcard tap_listrak/*.py tap_listrak/*/*)
	$(PYTHON) -m venv --clear examples/demo/out/tap
	rm -rf build
	examples/demo/out/tap/$(PIP_INSTALL) .
	@touch $@

$(DEMO_TARGET): examples/demo/requirements.txt
	$(PYTHON) -m venv --clear examples/demo/out/target
	examples/demo/out/target/$(PIP_INSTALL) -r $<
	@touch $@

$(DEMO_MODELS): examples/dbt/requirements.txt
	$(PYTHON) -m venv --clear examples/demo/out/models
	examples/demo/out/models/$(PIP_INSTALL) -r $<
	@touch $@
