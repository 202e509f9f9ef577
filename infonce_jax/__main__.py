"""Command line: `infonce-jax COMMAND …`, the same as `python -m infonce_jax COMMAND …`.

infonce-jax evaluate embeddings.npy         is it Gaussian?
infonce-jax compare a.npy b.npy             which is closer?
infonce-jax whiten embeddings.npy …         fit a Gaussian model
infonce-jax score white.npz new.npy …       log-likelihood of each row
infonce-jax pretrained MODEL DATA …         embeddings of a pretrained model
"""

import importlib
import sys
from collections.abc import Sequence

import infonce_jax


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv in ([], ["-h"], ["--help"]):
        print(__doc__.partition("\n\n")[2].rstrip())
        print("\nEach of them has a --help.")
        return 0 if argv else 2
    if argv == ["--version"]:
        print(infonce_jax.__version__)
        return 0
    if argv[0] == "pretrained":
        return importlib.import_module("infonce_jax.pretrained.__main__").main(argv[1:])
    return importlib.import_module("infonce_jax.evaluation.__main__").main(argv)


if __name__ == "__main__":
    sys.exit(main())
