"""Files and folders that are written whole or not at all, and what JSON files hold."""

import contextlib
import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a scratch file that replaces `path` when the block ends without an error.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole or not at all")
        >>> (folder / "a.txt").read_text()
        'whole or not at all'
    """
    scratch = _scratch(path)
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a new scratch folder that replaces the folder `path` when the block ends without an error.

    A reader sees the old folder or the new one, never a part of one. A process that is killed leaves
    its scratch folder behind, under a name that starts with a dot.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "new"
        >>> with replacing_folder(folder) as temporary:
        ...     _ = (temporary / "a.txt").write_text("whole or not at all")
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    scratch, replaced = _scratch(path), _scratch(path, ".replaced")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if path.exists():
            # A folder can only be renamed onto an empty one.
            path.rename(replaced)
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` to `path` as JSON, whole or not at all.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.json"
        >>> write_json(file, {"loss": float("nan"), "step": 3})
        >>> json.loads(file.read_text())
        {'loss': nan, 'step': 3}
    """
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted names, in order; empty mappings are left out.

    Examples:
        >>> flatten({"loss": {"temperature": 0.1}, "name": "run"})
        {'loss.temperature': 0.1, 'name': 'run'}
    """
    leaves = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the user's quota, is full.

    Libraries that write through compiled code pass on the system's text but not its error number.

    Examples:
        >>> is_disk_full(OSError(28, "No space left on device"))
        True
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "errno", None) in _FULL:
            return True
        if any(os.strerror(number) in str(error) for number in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _scratch(path: Path, suffix: str = "") -> Path:
    # Host and process id keep two writers apart; the leading dot keeps readers away.
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}{suffix}")
