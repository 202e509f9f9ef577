"""Runs `python -m experiments.beyond`."""

import sys

from experiments.beyond import main

if __name__ == "__main__":
    sys.exit(main())
