# memo-ray's commands. Every target makes .venv first when it is missing or its lock has changed.
#
#   make venv      the environment, from requirements/cpu.txt (with a GPU: make venv TARGET=gpu)
#   make hipporag  .hipporag, the environment of HippoRAG2's authors' package, for comparisons with it
#   make demo      the whole loop on the embedded model, then one question answered, with a report
#   make test      lint, types, and every test but the slow ones
#   make test-all  every test
#   make lint      ruff and pyright alone
#   make bench     the scripts of benchmarks/ at small sizes (benchmarks/quick.yml)
#   make docs      the documentation's site, in site/
#   make dist      wheel and sdist, in dist/, and the wheel tried; sbom, audit, licences, workflows, tools: docs/releasing.md
#   make lock      resolve the locks again (make lock UPGRADE=--upgrade for newer versions)
#   make clean     remove .venv, .hipporag and caches; runs/ stays

PYTHON ?= python3.11
UPGRADE ?=
BIN := .venv/bin
# cpu or gpu; what is installed already, unless it is given.
TARGET ?= $(or $(patsubst .venv/.installed-%,%,$(firstword $(wildcard .venv/.installed-*))),cpu)
STAMP := .venv/.installed-$(TARGET)
# The tools of a release and of the documentation, apart from what memo-ray runs on.
RELEASE := .venv-release/.installed-release
TOOLS := .venv-release/bin
# Advisories without a fixed release: --ignore-vuln ID, and the reason in docs/releasing.md.
AUDIT_ACCEPTED :=
LOCKS := bootstrap cpu gpu hipporag release

.DEFAULT_GOAL := help
.PHONY: help venv hipporag demo test test-all lint bench docs tools dist sbom audit licences workflows lock clean
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

hipporag: .hipporag/.installed-hipporag

.hipporag/.installed-hipporag: requirements/bootstrap.txt requirements/hipporag.txt requirements/install.py requirements/sources.py
	@$(PYTHON) requirements/install.py hipporag .hipporag

demo: venv
	@$(BIN)/memo run demo.yaml

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(BIN)/pytest -m "not slow"

test-all: lint $(RELEASE)
	$(BIN)/pytest

bench: venv
	@$(BIN)/memo bench

$(RELEASE): requirements/bootstrap.txt requirements/release.txt requirements/install.py requirements/sources.py
	@$(PYTHON) requirements/install.py release .venv-release

tools: $(RELEASE)

docs: $(RELEASE)
	@NO_MKDOCS_2_WARNING=1 $(TOOLS)/mkdocs build --quiet --clean && echo "site/index.html"

dist: $(RELEASE)
	@rm -rf dist build memo_ray.egg-info
	@$(TOOLS)/python -m build --no-isolation --outdir dist . >dist.log 2>&1 || { cat dist.log >&2; exit 1; }
	@rm -rf build memo_ray.egg-info dist.log
	@$(TOOLS)/twine check --strict dist/*
	@$(TOOLS)/python requirements/try_wheel.py
	@for lock in bootstrap cpu gpu; do cp requirements/$$lock.txt dist/; done

# Licences are read from the environments that are there.
sbom: venv $(RELEASE)
	@mkdir -p dist
	@for lock in $(LOCKS); do PYTHONWARNINGS=ignore $(TOOLS)/cyclonedx-py requirements requirements/$$lock.txt --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o dist/sbom-$$lock.cdx.json || exit 1; done
	@$(TOOLS)/python requirements/sbom.py $(LOCKS:%=dist/sbom-%.cdx.json)

# The advisories know torch's release, not its CPU build; --strict: a package that could not be looked up is a failure.
audit: $(RELEASE)
	@for lock in $(LOCKS); do echo "requirements/$$lock.txt"; \
	  sed 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements/$$lock.txt > .venv-release/audited.txt; \
	  $(TOOLS)/pip-audit --strict --disable-pip --no-deps --progress-spinner off $(AUDIT_ACCEPTED) -r .venv-release/audited.txt \
	  || { echo "make audit: $$lock.txt has what the lines above name, or pypi.org was not reached: then run it elsewhere" >&2; exit 1; }; done

licences: venv
	@$(BIN)/python requirements/licences.py

workflows: $(RELEASE)
	@$(TOOLS)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(TOOLS)/zizmor --offline --quiet --persona=regular .github/workflows

lock: venv
	$(BIN)/python requirements/lock.py $(UPGRADE)

clean:
	rm -rf .venv .venv-release .hipporag site .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find memo_ray tests benchmarks requirements -name __pycache__ -type d -prune -exec rm -rf {} +
