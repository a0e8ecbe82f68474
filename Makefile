# make venv: set up.   make demo: and draw a week of traffic for Milan, offline.   make test: and run what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo test unit fuzz test-slow coverage lint deadcode wheel docs contexts models clean

# .venv with everything: then `. .venv/bin/activate`
venv: $(STAMP)

demo: $(STAMP)
	$(BIN)/gentraffic sample --city milan --days 7 -o milan.nc --map milan.html --plot milan.png

test: $(STAMP)
	$(MAKE) -j 2 lint unit

# a file's tests in one process: what they prepare is prepared once
unit: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# mutated inputs to every reader, in forked children; a short run of it is in `make test`.   make fuzz CASES=1000000
CASES ?= 20000
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/campaign.py --cases $(CASES)

# which lines the tests pass: a table, and htmlcov/index.html
coverage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-report=term --cov-report=html

# the documentation, into site/; warnings are errors, and nothing is fetched
docs: $(STAMP)
	$(BIN)/mkdocs build --quiet --strict

lint: $(STAMP) deadcode
	$(BIN)/ruff check .
	$(BIN)/mypy

deadcode: $(STAMP)
	$(BIN)/vulture

# What a person gets who installs the package: sdist and wheel in dist/; the wheel, in an environment of its own, draws
# a bundled city from a folder that knows nothing of this one.
wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	.ci/install "$$folder/venv" torch; \
	.ci/install "$$folder/venv" dist/*.whl; \
	mkdir "$$folder/elsewhere"; cd "$$folder/elsewhere"; \
	"$$folder/venv/bin/gentraffic" sample --city monaco --days 7 -o m.nc; \
	"$$folder/venv/bin/gentraffic" models

DATA ?= ../shared/data

# The contexts of the bundled cities anew, from the recorded extracts. A minute.   make contexts DATA=../shared/data
contexts: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/release.py --data $(DATA) --work build/release --only contexts

# The bundled models anew, from the public data: Internet, calls and SMS of Milan in one model, Internet of the others.
# An hour of one core.   make models DATA=../shared/data
models: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/release.py --data $(DATA) --work build/release --only stouter fast

# torch first and pinned: a resolver that meets an open range with no torch installed fetches gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	.ci/install $(VENV) torch
	.ci/install $(VENV) -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist site htmlcov .coverage *.egg-info
