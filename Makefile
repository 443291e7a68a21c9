# `make` lists the targets. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3

CODE := demo listrak_service tap_listrak tests $(wildcard benchmarks)
PIP_INSTALL := bin/pip install -qq --disable-pip-version-check

# An environment is made anew when what it installs, or the Python it is made with, changes.
MADE := made-with-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
DEV := .venv/$(MADE)
CHECK_TAP := .venv-singer-tools/$(MADE)
DEMO_TAP := demo/out/tap/$(MADE)
DEMO_TARGET := demo/out/target/$(MADE)

.PHONY: help demo test bench clean
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: $(DEMO_TAP) $(DEMO_TARGET) ## Sync a made-up account on this machine into a DuckDB file
	@demo/out/target/bin/python demo/demo.py

test: $(DEV) $(CHECK_TAP) ## Check style and types, run the tests, validate a sync's output
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy $(CODE)
	.venv/bin/coverage erase
	.venv/bin/coverage run -m pytest -n 2
	.venv/bin/coverage combine -q
	.venv/bin/coverage report
	.venv/bin/python -m demo.check_tap .venv-singer-tools/bin/singer-check-tap

bench: $(DEV) ## Measure speed and memory beside a bare loop and zeep (about eight minutes)
	.venv/bin/python -m benchmarks

clean: ## Remove the environments and everything else that was made
	rm -rf .venv .venv-singer-tools demo/out build dist *.egg-info .coverage* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV): setup.py
	$(PYTHON) -m venv --clear .venv
	.venv/$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(CHECK_TAP): Makefile
	$(PYTHON) -m venv --clear .venv-singer-tools
	.venv-singer-tools/$(PIP_INSTALL) --use-pep517 singer-tools==0.4.1
	@touch $@

$(DEMO_TAP): setup.py
	$(PYTHON) -m venv --clear demo/out/tap
	demo/out/tap/$(PIP_INSTALL) -e .
	@touch $@

$(DEMO_TARGET): demo/requirements.txt
	$(PYTHON) -m venv --clear demo/out/target
	demo/out/target/$(PIP_INSTALL) -r demo/requirements.txt
	@touch $@
