# make reproduce   the paper's Table 1, synthetic half, in about two minutes
# make paper       every table and figure of the paper that needs no images, into runs/paper
# make gpu         what waits for an accelerator, in nine minutes; SIZE=tiny tries it on a CPU
# make test        the tests
# make test-pretrained   the tests that need torch, in an environment of their own (.venv-pretrained)
# make lint        style
# make docs        the site, into site/
# make types       mypy and pyright on docs/examples
#
# Each creates the environment .venv first where there is none; make gpu uses PYTHON as it is. The README
# has the plain commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

PAPER := runs/paper
SIZE ?= full

.PHONY: reproduce paper gpu test test-pretrained lint types format docs clean

reproduce: $(VENV)/installed
	$(BIN)/python launch.py
	$(BIN)/python -m experiments.paper --runs runs --output runs/table1_synthetic --only table1 \
		--page runs/none.md

paper: $(VENV)/installed
	$(BIN)/python launch.py --workdir=$(PAPER)/table1_synthetic
	$(BIN)/python launch.py --config=configs/paper/search_mixture.py --workdir=$(PAPER)/mixture
	$(BIN)/python launch.py --config=configs/paper/search_binary.py --workdir=$(PAPER)/binary
	$(BIN)/python launch.py --config=configs/paper/fig2_3_7_8_laplace.py --workdir=$(PAPER)/laplace
	$(BIN)/python launch.py --config=configs/paper/fig11_pushforward.py --workdir=$(PAPER)/pushforward
	$(BIN)/python -m experiments.paper --runs $(PAPER) --output $(PAPER)/figures --page $(PAPER)/none.md \
		--pdf --only table1 mixture binary cosines norms normality pushforward

# In the environment of the accelerator, whose JAX must not be replaced.
gpu:
	$(PYTHON) -m benchmarks.gpu --size=$(SIZE) $(ARGS)

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
