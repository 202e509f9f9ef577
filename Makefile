# make reproduce   the paper's Table 1, synthetic half, in about a minute
# make paper       every synthetic table and figure of the paper, into runs/paper
# make test        the tests
# make lint        style
# make types       mypy and pyright on docs/examples
#
# Each creates the environment .venv first where there is none. The README has the plain commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

PAPER := runs/paper

.PHONY: reproduce paper test lint types format clean

reproduce: $(VENV)/installed
	$(BIN)/python launch.py

paper: $(VENV)/installed
	$(BIN)/python launch.py --workdir=$(PAPER)/table1_synthetic
	$(BIN)/python launch.py --config=configs/paper/fig2_3_7_8_laplace.py --workdir=$(PAPER)/laplace
	$(BIN)/python launch.py --config=configs/paper/fig11_pushforward.py --workdir=$(PAPER)/pushforward
	$(BIN)/python launch.py --config=configs/paper/search_binary.py --workdir=$(PAPER)/binary
	$(BIN)/python -m experiments.paper --runs $(PAPER) --output $(PAPER)/figures \
		--page $(PAPER)/figures/none.md --pdf --only controls cosines norms normality pushforward binary

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/python -m pip install --quiet mypy pyright
	MYPYPATH=. $(BIN)/mypy --follow-imports=silent docs/examples
	$(BIN)/pyright --pythonpath $(BIN)/python docs/examples

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV)
