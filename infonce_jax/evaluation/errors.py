"""Messages about files that cannot be read, which all readers share."""

from collections.abc import Iterable
from pathlib import Path


def check_key(path: Path, key: str | None, names: Iterable[str]) -> None:
    """Refuses a name that a file does not hold, and lists those that it does."""
    names = list(names)
    if key is not None and key not in names:
        raise ValueError(
            f"{path} holds no array {key!r}. It holds: {', '.join(names) or 'none to choose'}."
        )


def pickled(path: Path | str) -> str:
    return (
        f"{path} holds pickled Python objects, which are not loaded because unpickling runs code. "
        f"Save a plain array: np.save(path, np.asarray(x, dtype=np.float32), allow_pickle=False)."
    )


def damaged(path: Path, error: Exception | str) -> str:
    size = f" ({path.stat().st_size} bytes)" if path.is_file() else ""
    return f"{path}{size} is truncated or damaged: {error}. Copy or write it again."


def missing(path: Path, library: str | None) -> str:
    return (
        f"{path} needs {library}, which is not installed: pip install {library}, or "
        f"pip install 'infonce_jax[formats]'. A .npy file needs nothing more."
    )
