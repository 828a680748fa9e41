# memo-ray's commands. Every target makes .venv first when it is missing or its lock has changed.
#
#   make venv      the environment, from requirements/cpu.txt (with a GPU: make venv TARGET=gpu)
#   make demo      the whole loop on the embedded model, then one question answered, with a report
#   make test      lint, types, and every test but the slow ones
#   make test-all  every test
#   make lint      ruff and pyright alone
#   make bench     the scripts of benchmarks/ at small sizes (benchmarks/quick.yml)
#   make lock      resolve the locks again (make lock UPGRADE=--upgrade for newer versions)
#   make clean     remove .venv and caches; runs/ stays

PYTHON ?= python3.11
UPGRADE ?=
BIN := .venv/bin
# cpu or gpu; what is installed already, unless it is given.
TARGET ?= $(or $(patsubst .venv/.installed-%,%,$(firstword $(wildcard .venv/.installed-*))),cpu)
STAMP := .venv/.installed-$(TARGET)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all lint bench lock clean
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP)

$(STAMP): requirements/bootstrap.txt requirements/$(TARGET).txt requirements/install.py requirements/sources.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "make venv: memo-ray needs Python 3.11 and \`$(PYTHON)\` is not one. Install it (Debian 12: apt install python3.11 python3.11-venv python3.11-dev;" >&2; \
	  echo "elsewhere: pyenv install 3.11, or uv python install 3.11) or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) requirements/install.py $(TARGET) .venv

demo: venv
	@$(BIN)/memo run demo.yaml

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(BIN)/pytest -m "not slow"

test-all: lint
	$(BIN)/pytest

bench: venv
	@$(BIN)/memo bench

lock: venv
	$(BIN)/python requirements/lock.py $(UPGRADE)

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find memo_ray tests benchmarks requirements -name __pycache__ -type d -prune -exec rm -rf {} +
