PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
PROCESSES ?= 2

.PHONY: help venv test test-all lint demo clean \
	train-pt111-water train-pt111-water-fqeq train-pt111-water-edp

help:
	@echo "make venv      create $(VENV) with the package and its development tools"
	@echo "make test      run the default test suite"
	@echo "make test-all  run all tests, also the slow ones and those for a GPU or GPAW"
	@echo "make lint      run ruff and mypy"
	@echo "make demo      run a short MD at -0.5 V vs SHE into demo/: trajectory, log, plot, summary"
	@echo "make train-pt111-water  train the bundled model from ../shared/data into runs/ (some two hours)"
	@echo "make train-pt111-water-fqeq, make train-pt111-water-edp: likewise, minutes"
	@echo "make clean     remove everything the targets above created"
	@echo "PROCESSES=N sets the number of processes of tests and training, $(PROCESSES) by default"

venv: $(STAMP)

# The constraints keep pip at the pinned torch, of which a CPU build is enough.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(PROCESSES) --dist worksteal \
		-m "not slow and not gpu and not gpaw" $(PYTEST_ARGS)

test-all: $(STAMP)
	$(BIN)/pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

demo: $(STAMP)
	$(BIN)/pe-md --potential -0.5V --steps 400 --out demo --overwrite

# Not in build/, which "make clean" removes. The same command goes on from an interrupted run.
train-pt111-water: $(STAMP)
	for stage in pt111-water-start pt111-water-field \
			pt111-water-bonds pt111-water-polish pt111-water-raised pt111-water; do \
		OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc_per_node $(PROCESSES) -m voltase.cli.train \
			mace recipes/$$stage.yaml --out runs/$$stage || exit 1; \
	done

train-pt111-water-fqeq: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pe-train fqeq recipes/pt111-water-fqeq.yaml --out runs/pt111-water-fqeq

train-pt111-water-edp: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pe-train density recipes/pt111-water-edp.yaml --out runs/pt111-water-edp

clean:
	rm -rf $(VENV) build dist demo src/voltase.egg-info .pytest_cache .mypy_cache .ruff_cache
	find aseplugin analysis cli src tests -name __pycache__ -type d -prune -exec rm -rf {} +
