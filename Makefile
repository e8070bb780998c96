# `make repro` rebuilds everything, `make test` checks it, `make test-all` with the slow tests too.
# Each creates .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
# With it set, `python -m` does not look for modules in this folder.
unexport PYTHONSAFEPATH
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro lint test test-all types bench doctor clean

repro: .venv/ready
	dvc repro
	python -m pipeline.finish

lint: .venv/ready
	ruff check .
	ruff format --check .

test: .venv/ready lint
	python -m pytest -m "not slow"

test-all: .venv/ready lint
	python -m pytest

# Write down that ty finds less than before (tests/types.txt); more is refused.
types: .venv/ready
	python -m tests.test_types

bench: .venv/ready
	python -m bench

doctor: .venv/ready
	python -m pipeline.doctor

# The OpenMMLab packages come without their dependencies: chumpy does not build in isolation and
# xtcocotools' wheels are for numpy 1. Nothing here needs either; what is needed at run time stands
# in requirements.txt.
.venv/ready: requirements.txt requirements-openmmlab.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-openmmlab.txt
	touch $@

clean:
	rm -rf work
