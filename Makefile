# make quickstart: install, train on the shipped data set, print figures, answer three queries.  make test: the whole suite.
PYTHON ?= python3
VENV   ?= .venv
EXTRA  ?= cpu
BIN     = $(VENV)/bin
XMC     = $(BIN)/xmc
RUN    ?= runs/quickstart
# With UV=uv, where that is installed, in a fifth of the time. It reads its own settings, not pip's.
UV     ?=
INSTALL = $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/pip install --no-compile) --quiet --constraint constraints.txt
# The install does not compile (most of it is never imported); what is imported is compiled once and kept, where an
# environment that forbids that would have every process compile torch again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help install install-dev quickstart test coverage test-fast test-gpu lint format docs bench golden clean
help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[$(EXTRA)]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[$(EXTRA),dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed  ## virtual environment with xmc
install-dev: $(VENV)/.installed-dev  ## the same with the test tools

quickstart: install  ## train, evaluate and search on the shipped ICD-10-CM data
	$(XMC) train --plugin dexml --data icd10cm --out $(RUN) --overwrite
	$(XMC) evaluate --run $(RUN)
	$(XMC) search "type 2 diabetes with kidney damage" --run $(RUN) -k 3
	$(XMC) search "allergy to peanuts" --run $(RUN) -k 3
	$(XMC) search "swimmers ear" --run $(RUN) -k 3

test: install-dev  ## the whole test suite
	$(BIN)/python -m pytest -n 2 -q

coverage: install-dev  ## the same with coverage; half as slow again
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered -q

test-fast: install-dev  ## the suite without its slow part
	$(BIN)/python -m pytest -n 2 -q -m "not slow and not pretrained"

test-gpu: install-dev  ## the tests that need a GPU
	$(BIN)/python -m pytest -n 2 -q -m gpu

lint: install-dev  ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini
	$(BIN)/lint-imports

format: install-dev  ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev  ## write the generated pages and the tables of figures
	$(BIN)/python docs/make_pages.py
	$(BIN)/python benchmarks/readme_table.py
	$(BIN)/python benchmarks/loss_tables.py

bench: install-dev  ## run the benchmarks; those of data sets that do not ship want XMC_BENCHMARK_DATA
	$(BIN)/python benchmarks/bench_icd10cm.py
	$(BIN)/python benchmarks/bench_exact_search.py
	$(BIN)/python benchmarks/bench_index_curve.py
	$(BIN)/python benchmarks/bench_single_query.py
	$(BIN)/python benchmarks/bench_batch_overhead.py
	$(BIN)/python benchmarks/bench_index_proofs.py
	$(BIN)/python benchmarks/bench_filtered_search.py
	$(BIN)/python benchmarks/bench_step_time.py
	$(BIN)/python benchmarks/bench_exactness.py
	$(BIN)/python benchmarks/bench_predict.py --run $(RUN)
	$(BIN)/python benchmarks/bench_eurlex57k.py
	$(BIN)/python benchmarks/bench_wordnet.py
	$(BIN)/python benchmarks/bench_best_recipe.py --peers runs/peers

golden: install-dev  ## write the loss curves of tests/golden anew
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/make_golden.py

clean:  ## forget the virtual environment and the runs
	rm -rf $(VENV) runs build dist
