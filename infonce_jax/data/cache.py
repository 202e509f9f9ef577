"""A cache of arrays that take long to make: a folder for each entry, with checksums."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from infonce_jax.files import replacing_folder

logger = logging.getLogger(__name__)


def folder_of(cache_dir: str | os.PathLike | None) -> Path:
    """The folder of the cache: `$XDG_CACHE_HOME/infonce_jax`, else `~/.cache/infonce_jax`, for None."""
    if cache_dir is None:
        cache_dir = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "infonce_jax"
    return Path(cache_dir).expanduser()


def read(entry: Path, names: Sequence[str], what: str) -> dict[str, np.ndarray] | None:
    """The arrays of a cache entry, or `None` if it is missing or does not match its checksums.

    Args:
        entry: the folder.
        names: of the arrays.
        what: what the arrays are, for a warning, such as "CIFAR-10".
    """
    if not entry.exists():
        return None
    try:
        checksums = json.loads((entry / "checksums.json").read_text())
        arrays = {name: np.load(entry / f"{name}.npy", allow_pickle=False) for name in names}
        damaged = [name for name in arrays if _sha256(arrays[name]) != checksums[name]]
        if not damaged:
            return arrays
        problem = f"{', '.join(damaged)} do not match their checksums"
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        problem = str(error)
    logger.warning("The %s cache %s is damaged (%s): decoding again.", what, entry, problem)
    return None


def write(entry: Path, arrays: Mapping[str, np.ndarray], what: str) -> None:
    """Writes a cache entry. Warns if the folder cannot be written."""
    checksums = {}
    try:
        with replacing_folder(entry) as scratch:
            for name, array in arrays.items():
                np.save(scratch / f"{name}.npy", array)
                checksums[name] = _sha256(array)
            (scratch / "checksums.json").write_text(json.dumps(checksums, indent=2))
    except OSError as error:
        logger.warning(
            "The decoded %s could not be cached in %s (%s), so it will be decoded again at "
            "the next start; set cache_dir to a folder that can be written.",
            what,
            entry,
            error,
        )


def _sha256(array: np.ndarray) -> str:
    header = f"{array.dtype.str} {array.shape}\n".encode()
    return hashlib.sha256(header + hashlib.sha256(np.ascontiguousarray(array)).digest()).hexdigest()
