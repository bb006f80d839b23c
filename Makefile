# `make demo` and `make test` need a Python 3.10 to 3.12 and nothing else; everything lands in .venv.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-lowest slow soak bench mutants docs lint types wheel clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(INSTALL) --editable '.[dev,bench]'
	@touch $@

$(VENV)/.installed-docs: $(BIN)/python pyproject.toml
	$(INSTALL) --editable '.[docs]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/organcam run phantom --out runs/demo --workers 2

# JOBS processes with one thread each; a file stays in one process, so that its finished run is made once. Files in their
# own order: by number of tests the longest ones, which have few, would come last and one process would wait.
JOBS ?= 2
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The suite's core under the lowest versions of all dependencies, in a second environment.
LOWEST := .venv-lowest
LOWEST_TESTS := $(addprefix tests/,attention catalogue data engines handlers losses metrics networks nlp report runner \
	segmentation stages transforms test_cli.py test_config.py test_geometry.py)

test-lowest: constraints-lowest.txt pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary organcam \
		--constraint constraints-lowest.txt . hypothesis pytest scikit-learn
	$(LOWEST)/bin/python -m pytest -m "not slow and not browser" -q -p no:cacheprovider $(LOWEST_TESTS)

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow -q

# Attacks by the hundred: kills, signals, damaged files. Their counts are in docs/reliability.md; short forms are in `test`.
soak: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/soak -q

bench: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_parser.py
	$(BIN)/python tests/benchmarks/bench_attention.py
	$(BIN)/python tests/benchmarks/bench_phantom.py
	$(BIN)/python tests/benchmarks/bench_segmentation.py speed
	$(BIN)/python tests/benchmarks/bench_training.py

# GROUP is one of those in the file, or several; all of them take an hour on one core.
mutants: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_mutants.py $(GROUP)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Editors and mypy do not follow an editable install whose folders are mapped, so the wheel's contents are checked.
build/wheel: $(VENV)/.installed-dev $(shell find pipeline nlp segmentation workflows -type f -not -name '*.pyc')
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist >/dev/null
	$(INSTALL) --no-deps --target build/wheel dist/*.whl
	@touch build/wheel

# From nothing each time: with its cache mypy once passed what a clean checkout refused.
types: build/wheel
	MYPYPATH=build/wheel $(BIN)/mypy --no-incremental -p organcam

wheel: build/wheel
	cd build && PYTHONPATH=wheel ../$(BIN)/python -c "import organcam, organcam.cli; assert 'wheel' in organcam.__file__"
	cd build && PYTHONPATH=wheel ../$(BIN)/python -m organcam describe plugins

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(LOWEST) build dist runs site *.egg-info
