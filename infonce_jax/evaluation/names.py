"""Names that a caller gives: one or several, short or long."""

import unicodedata
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TypeVar

One = TypeVar("One")


def several(given: One | Sequence[One]) -> tuple[One, ...]:
    """What was given as a tuple: a single name, path or number is one thing, not its letters."""
    return (given,) if isinstance(given, str | PathLike | int) else tuple(given)


def test_keys(given: str | Sequence[str], titles: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of the tests that are asked for by key, function or title.

    Args:
        given: such as "ad", "anderson_darling", "Anderson-Darling", or several.
        titles: the tests' titles by key.

    Raises:
        ValueError: for a name that is none of these; lists them.
    """
    keys = {_plain(title): key for key, title in titles.items()} | {_plain(k): k for k in titles}
    found = []
    for name in several(given):
        key = keys.get(_plain(name)) if isinstance(name, str) else None
        if key is None:
            known = ", ".join(f"{key} ({title})" for key, title in titles.items())
            raise ValueError(f"unknown test {name!r}; choose from {known}.")
        found.append(key)
    return tuple(found)


def _plain(name: str) -> str:
    """anderson_darling of "Anderson-Darling", dagostino_pearson of "D'Agostino-Pearson"."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return ascii_only.replace("'", "").replace("-", "_").replace(" ", "_")
