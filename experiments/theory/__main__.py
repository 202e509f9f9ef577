"""Runs `python -m experiments.theory`."""

import sys

from experiments.theory import main

if __name__ == "__main__":
    sys.exit(main())
