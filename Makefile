# Each target makes its own .venv and installs what it needs, with the versions of constraints.txt. What is installed is
# compiled when it is first imported, and kept: most of it never is.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH ?= effpath-bench
WORKERS := auto
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: demo test test-slow check bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/effpath demo

test: $(VENV)/.installed
	$(PYTEST) -m 'not slow'

# one more than there are processors: slow tests wait for processes and files now and then
test-slow: WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
test-slow: $(VENV)/.installed
	$(PYTEST) -m slow

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST)

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run --output $(BENCH)/bench.json --plot $(BENCH)/bench.svg

clean:
	rm -rf $(VENV) build dist effpath-demo effpath-bench .pytest_cache .mypy_cache .ruff_cache .hypothesis
