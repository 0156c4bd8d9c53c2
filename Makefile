# make demo: set up and run the whole loop on this machine. make test: set up and run every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?= 2

.PHONY: setup demo test check bench regret reports gpu clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("glmplan needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	touch $@

demo: setup
	$(BIN)/glmplan quickstart --out quickstart --overwrite

test: setup
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

bench: setup
	$(BIN)/python -m tests.bench --output reports/benchmarks.md

regret: setup
	$(BIN)/python -m tests.regret --output reports/regret.md

reports: setup
	$(BIN)/glmplan kernels --format md > reports/kernels.md.part
	mv reports/kernels.md.part reports/kernels.md
	$(BIN)/glmplan validate --cases published --held-out --record reports --intervals hardware_profiles/intervals.yaml
	$(BIN)/glmplan validate --cases published --html reports/accuracy.html --format md > /dev/null
	$(BIN)/glmplan calibrate --cases published --all -o hardware_profiles/calibrations

# Runs from the source checkout with whatever torch the machine has; nothing is installed.
gpu:
	PYTHONPATH=. $(PYTHON) -m glmplan gpu --out reports

clean:
	rm -rf $(VENV) quickstart .mypy_cache .pytest_cache .ruff_cache .hypothesis
