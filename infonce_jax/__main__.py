"""Command line: `infonce-jax COMMAND …`, the same as `python -m infonce_jax COMMAND …`."""

import importlib
import sys
from collections.abc import Sequence

import infonce_jax

_EVALUATION = "infonce_jax.evaluation.__main__"
# Every command: the module whose main runs it, how it is typed, what it does.
COMMANDS = {
    "evaluate": (_EVALUATION, "evaluate embeddings.npy", "is it Gaussian?"),
    "compare": (_EVALUATION, "compare a.npy b.npy", "which is closer?"),
    "whiten": (_EVALUATION, "whiten embeddings.npy …", "fit a Gaussian model"),
    "score": (_EVALUATION, "score model.npz new.npy …", "log-likelihood of each row"),
    "apply": (_EVALUATION, "apply model.npz new.npy …", "whitened rows"),
    "pretrained": (
        "infonce_jax.pretrained.__main__",
        "pretrained MODEL DATA …",
        "embeddings of a pretrained model",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv in ([], ["-h"], ["--help"]):
        for _, typed, what in COMMANDS.values():
            print(f"infonce-jax {typed:<32}{what}")
        print("\nEach of them has a --help.")
        return 0 if argv else 2
    if argv == ["--version"]:
        print(infonce_jax.__version__)
        return 0
    if argv[0] not in COMMANDS:
        print(
            f"error: unknown command {argv[0]!r}; choose from {', '.join(COMMANDS)}. "
            f"Run infonce-jax --help for what they do.",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(COMMANDS[argv[0]][0])
    return module.main(argv[1:] if argv[0] == "pretrained" else argv)


if __name__ == "__main__":
    sys.exit(main())
