"""Command line: `infonce-jax evaluate|compare|whiten|score …`, the same as `python -m infonce_jax …`."""

import sys

from infonce_jax.evaluation.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
