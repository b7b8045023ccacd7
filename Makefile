# qure. `make help` lists what there is.
#
# Needs Python 3.11, git and make. Everything else is installed into .venv from requirements.lock.
#   PYTHON=...          another interpreter (must be 3.11)
#   TORCH_BACKEND=...   cpu, cu130, ... or auto (default): which build of torch uv takes; empty: the index's default
#   PIP_FIND_LINKS=...  a folder with wheels; when set, torch is taken from there and TORCH_BACKEND is not used

PYTHON ?= python3.11
TORCH_BACKEND ?= auto
BIN := .venv/bin
UV_VERSION := 0.13.9
WHEELS := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),$(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)))
TORCH := torch==2.13.0

# Compiled bytecode is kept: importing the libraries without it takes a third of a stage's time.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What is installed is looked over each time, in under a second, and installed again when a file is missing or cut, or
# the project was moved.
# Bytecode is left to the first import: compiling all 26,000 modules takes 100 CPU-s, and the demo imports 6,700.
CHECK := $(BIN)/python -ISB qure/environment.py
.PHONY: setup
setup: .venv/.installed ## install the locked environment into .venv, and mend it where it is damaged
	@$(CHECK) requirements.lock || { rm -f $<; $(MAKE) --no-print-directory $<; $(CHECK) requirements.lock; } || \
	  { echo 'the environment stays damaged: remove .venv, then run the same command again' >&2; exit 1; }

.venv/.installed: requirements.lock pyproject.toml
	@{ $(CHECK) && $(BIN)/python -m pip --version; } >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(WHEELS) --requirement requirements.lock $(TORCH)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: demo
demo: setup ## the main job: data, then validate -> ... -> promote for both training sets, then a table of results
	@$(BIN)/qure demo

.PHONY: test
test: setup ## run the tests that need no servers and no containers (SHUFFLE=1 in another order, 2 in yet another, ...)
	$(BIN)/python -m pytest -m "not containers and not kfp_local and not integration" -n 2 $(if $(SHUFFLE),--shuffle $(SHUFFLE))

.PHONY: coverage
coverage: setup ## the same under coverage, then the lines that no test reaches (TESTS=... for some tests; pages in .coverage/)
	@rm -rf .coverage && mkdir .coverage
	COVERAGE_FILE=$(CURDIR)/.coverage/data $(BIN)/python -m coverage run -m pytest $(or $(TESTS),-m "not containers and not kfp_local") -n 2
	@$(BIN)/python -m coverage combine --quiet .coverage && $(BIN)/python -m coverage report

.PHONY: test-all
test-all: setup ## run every test; those whose servers or engine are missing say so
	$(BIN)/python -m pytest -n 2

.PHONY: fuzz
fuzz: setup ## damaged files at random for SECONDS=600; one that is too much for a reader is kept in tests/fuzz/corpus
	QURE_FUZZ_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest tests/fuzz -n 0

.PHONY: bench
bench: setup ## every benchmark that this machine can run, on an idle machine: results and docs/benchmarks.md
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

.PHONY: lint
lint: setup ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: docs
docs: setup ## the site of docs/ with the library's reference: .site/index.html, to open without a server
	$(BIN)/mkdocs build --strict --quiet

.PHONY: format
format: setup ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: deps
deps: setup ## write the code that each stage runs into dvc.yaml, read from the imports
	$(BIN)/python -m tools.stage_code

.PHONY: lock
lock: setup ## resolve requirements.lock anew from pyproject.toml (torch is installed beside it: its build is the machine's choice)
	echo '$(TORCH)' | $(BIN)/uv pip compile pyproject.toml - --quiet --all-extras --group dev --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_28 $(WHEELS) --generate-hashes --no-emit-package torch --no-header \
	  --output-file requirements.lock

.PHONY: mlflow
mlflow: setup ## MLflow's pages on http://127.0.0.1:5000 (PORT=... for another), until Ctrl-C
	@$(BIN)/python -m qure.tracking
	@$(BIN)/python -m qure.tracking.server --port $(or $(PORT),5000)

.PHONY: studio
studio: setup ## the page for people on http://127.0.0.1:8765 (PORT=..., SET=cirr for another), until Ctrl-C
	@$(BIN)/qure studio --training-set $(or $(SET),fashioniq) --port $(or $(PORT),8765)

.PHONY: services services-stop services-status
services: setup ## PostgreSQL, S3 and MLflow with passwords on this machine; QURE_PROFILE=services make demo uses them
	@$(BIN)/python -m infra.services start

services-stop: ## stop them; what they hold stays
	@$(BIN)/python -m infra.services stop

services-status: ## do they answer?
	@$(BIN)/python -m infra.services status

.PHONY: clean
clean: ## remove what the demo made, the environment and data/ excepted
	@[ ! -e .work/services ] || $(BIN)/python -m infra.services stop
	rm -rf artifacts .work .site mlflow.db* mlruns
