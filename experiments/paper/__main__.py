"""Runs `python -m experiments.paper`."""

import sys

from experiments.paper import main

if __name__ == "__main__":
    sys.exit(main())
