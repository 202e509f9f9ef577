"""Names of parts: one of the package's, or `my_module:thing` for one of your own.

Every kind of part (source, channel, encoder, objective, regulariser, optimizer, statistic) is looked up
here. A part of your own is a function, or a Flax module, in a file beside the config file or in the
working directory, or in any installed package. The files that define it are hashed, so that a run is
not continued with other code.
"""

import ast
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_OWN = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")

# What comes before the colon in the names of datasets, `tfds:cifar100` for example.
DATASETS = ("tfds", "folder", "hf")

# Folders in which modules of the user's own are looked for, beside those that Python looks in.
_folders: list[Path] = []


def is_own(name: str) -> bool:
    """Whether a name is of the form `my_module:thing`.

    Examples:
        >>> is_own("my_parts:Net"), is_own("resnet")
        (True, False)
    """
    return _OWN.fullmatch(name) is not None and name.partition(":")[0] not in DATASETS


def short_name(name: str) -> str:
    """What to call a part in tables: `thing` for `my_module:thing`, other names as they are.

    Examples:
        >>> short_name("my_parts:Net"), short_name("resnet")
        ('Net', 'resnet')
    """
    return name.partition(":")[2] if is_own(name) else name


def search_in(*folders: Path | str) -> None:
    """Adds folders in which modules of the user's own are looked for. The first one wins.

    Examples:
        >>> import tempfile
        >>> search_in(tempfile.mkdtemp())
    """
    for folder in folders:
        resolved = Path(folder).resolve()
        if resolved not in _folders:
            _folders.append(resolved)
        # Last, so that a file named like a module of Python's does not replace it for everyone.
        if str(resolved) not in sys.path:
            sys.path.append(str(resolved))


def find(field: str, name: str, known: Mapping[str, Any]) -> Any:
    """The part that a field of the configuration names.

    Examples:
        >>> find("encoder.name", "linear", {"linear": "the linear encoder"})
        'the linear encoder'

    Args:
        field: the field, for errors, such as "encoder.name".
        name: one of `known`, or `my_module:thing`.
        known: the package's parts of this kind by name.

    Raises:
        ValueError: where there is no such name, module or thing.
    """
    if name in known:
        return known[name]
    if is_own(name):
        return load(field, name)
    raise ValueError(
        f"config.{field} is {name!r}; it must be one of {', '.join(known)}, or my_module:name for one "
        "of your own."
    )


def load(field: str, name: str) -> Any:
    """The thing that `my_module:thing` names.

    Examples:
        >>> load("channel.name", "math:sqrt")(4.0)
        2.0

    Args:
        field: the field of the configuration, for errors.
        name: of the form `my_module:thing`.

    Raises:
        ValueError: where there is no such module or thing, or the module fails to be imported.
    """
    module_name, thing = _OWN.fullmatch(name).groups()
    module = _module(field, name, module_name)
    try:
        return getattr(module, thing)
    except AttributeError:
        defined = [key for key in vars(module) if not key.startswith("_")]
        raise ValueError(
            f"config.{field} is {name!r}, but {_file_of(module) or module_name} defines no {thing!r}; "
            f"it defines {', '.join(defined) or 'nothing'}."
        ) from None


def fit(
    field: str,
    name: str,
    thing: Any,
    arguments: Sequence[str],
    *,
    offered: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Checks that a part can be called as it will be.

    Args:
        field: the field of the configuration that names it, for errors.
        name: its name there.
        thing: the part.
        arguments: names of what it is given by position.
        offered: names of what it is given by keyword if it has such a parameter.
        kwargs: keyword arguments from the configuration.

    Returns:
        Those of `offered` that it takes.

    Raises:
        ValueError: where it is not callable, or its signature does not fit.
    """
    kwargs = kwargs or {}
    expected = ", ".join([*arguments, *(f"{key}={value!r}" for key, value in kwargs.items())])
    also = f" It may also have parameters {', '.join(offered)}, by keyword." if offered else ""
    if not callable(thing):
        raise ValueError(
            f"config.{field} is {name!r}, which is a {type(thing).__name__}; it must be a function that "
            f"can be called with ({expected}).{also}"
        )
    signature = inspect.signature(thing)
    taken = tuple(key for key in offered if key in signature.parameters and key not in kwargs)
    try:
        signature.bind(*arguments, **dict.fromkeys(taken), **kwargs)
    except TypeError as error:
        raise ValueError(
            f"config.{field} is {name!r}, whose signature {short_name(name)}{_shown(signature)} does "
            f"not fit ({error}): it is called with ({expected}).{also}"
        ) from None
    return taken


def code_hash(field: str, name: str) -> str:
    """A short hash of the files that define a part of the user's own, "" for installed packages.

    These are the file of its module and, of the modules that this file imports, those that are neither
    installed nor part of Python.
    """
    module_name = _OWN.fullmatch(name).group(1)
    files = sorted(_own_files(_module(field, name, module_name)))
    if not files:
        return ""
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:16]


def file_of(field: str, name: str) -> Path | None:
    """The file of the module of a part of the user's own."""
    return _file_of(_module(field, name, _OWN.fullmatch(name).group(1)))


def folder_of(field: str, name: str) -> Path | None:
    """The folder to give to `search_in` so that a part of the user's own is found again."""
    file = file_of(field, name)
    if not _is_of_user(file):
        return None
    levels = _OWN.fullmatch(name).group(1).count(".") + (file.name == "__init__.py")
    return file.parents[levels]


def hashable(value: Any) -> Any:
    """A keyword argument with lists as tuples, as a Flax module's fields have to be."""
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value


def _module(field: str, name: str, module_name: str) -> Any:
    top = module_name.partition(".")[0]
    beside = importlib.machinery.PathFinder.find_spec(top, [str(folder) for folder in _folders])
    found = sys.modules.get(top)
    if beside is not None and beside.origin:
        spec = found.__spec__ if found is not None else importlib.util.find_spec(top)
        if spec is not None and spec.origin and not _is_same(spec.origin, beside.origin):
            raise ValueError(
                f"config.{field} is {name!r}, but {beside.origin} is hidden by the module {top!r} of "
                f"{spec.origin}. Give your file another name."
            )
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(field, name, error) from error
        looked = ", ".join(str(folder) for folder in _folders) or "no folder of yours"
        raise ValueError(
            f"config.{field} is {name!r}, but there is no module {error.name!r}: {module_name}.py is "
            f"neither in {looked} nor among the installed packages. Put the file beside the config file "
            "or into the working directory."
        ) from None
    # Whatever the user's file raises when it is run.
    except Exception as error:
        raise _broken(field, name, error) from error


def _broken(field: str, name: str, error: Exception) -> ValueError:
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename)
        if any(file.is_relative_to(folder) for folder in _folders):
            place = f" at {file}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return ValueError(
        f"config.{field} is {name!r}, whose module cannot be imported{place}: "
        f"{type(error).__name__}: {error}"
    )


def _is_same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _file_of(module: Any) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()


@functools.cache
def _installed() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (*folders, Path(__file__).resolve().parent)


def _is_of_user(file: Path | None) -> bool:
    return file is not None and not any(file.is_relative_to(folder) for folder in _installed())


def _own_files(module: Any) -> set[Path]:
    """The file of a module and those of the user's modules that it imports, directly or not."""
    files: set[Path] = set()
    waiting = [module]
    while waiting:
        module = waiting.pop()
        file = _file_of(module)
        if file in files or not _is_of_user(file) or file.suffix != ".py":
            continue
        files.add(file)
        names = _imported(file, getattr(module, "__package__", "") or "")
        waiting += [sys.modules[name] for name in names if name in sys.modules]
    return files


def _imported(file: Path, package: str) -> Iterable[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _shown(signature: inspect.Signature) -> str:
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
