# Each target sets up what it needs: a bare machine with python3 >= 3.10 and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
OUT := build/serseg_b0-int8
# Tests run many small networks: one thread each, as many processes as cores.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: help demo ios test swift benchmarks check lint format readme readme-check clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.run  ## the main job: serseg_b0 to a verified int8 Core ML package
	$(BIN)/portrait-export coreml --model serseg_b0 --quantize int8 --out $(OUT) --force

ios: $(VENV)/.run  ## packages and photos into the iOS demo; on a Mac, opens it in Xcode
	$(BIN)/portrait-export demo
	@if [ "$$(uname)" = Darwin ]; then open ios_demo/App/PortraitDemo.xcodeproj; \
	else echo "open ios_demo/App/PortraitDemo.xcodeproj in Xcode on a Mac"; fi

test: $(VENV)/.dev swift  ## the whole test suite, Swift's first: pytest runs what it has built
	$(TEST_ENV) $(BIN)/python -m pytest -n auto

swift:  ## the iOS demo's Swift half: style, build, tests (needs swift 6, libpng-dev, libjpeg-dev)
	@if command -v swift > /dev/null; then \
	  cd ios_demo && swift format lint --strict --recursive Package.swift Sources Tests App && \
	  swift build -c release && swift test -c release --disable-xctest && \
	  { [ "$$(uname)" = Darwin ] || ./typecheck; }; \
	else echo "swift is not installed: the Swift half of ios_demo was not run"; fi

benchmarks: $(VENV)/.dev  ## how much the rewrites save, and how fast the runtime is; benchmarks/ has more
	$(BIN)/python benchmarks/rewrites.py
	$(BIN)/python benchmarks/runtime_speed.py

check: lint  ## everything that CI checks: style, types, import contracts, README, tests
	$(MAKE) test

lint: $(VENV)/.dev  ## style, types, import contracts, README blocks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) readme-check

format: $(VENV)/.dev  ## rewrite the code in house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

readme: $(VENV)/.dev  ## renew the generated blocks of the README and the docs
	NO_COLOR=1 COLUMNS=110 $(BIN)/cog -r README.md docs/cli.md docs/operators.md docs/python.md

readme-check: $(VENV)/.dev
	NO_COLOR=1 COLUMNS=110 $(BIN)/cog --check README.md docs/cli.md docs/operators.md docs/python.md

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build ios_demo/.build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: python 3.10 or later is needed; pass PYTHON=python3.12, for example"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: python cannot make a virtual environment; on Debian: apt install python3-venv"; exit 2; }

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the development tools into $(VENV) (a few minutes the first time)"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.run
