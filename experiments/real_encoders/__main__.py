"""Runs `python -m experiments.real_encoders`."""

import sys

from experiments.real_encoders import main

if __name__ == "__main__":
    sys.exit(main())
