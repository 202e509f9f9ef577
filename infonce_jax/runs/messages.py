"""Pieces of the messages of a sweep."""

import contextlib
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Starts the message of a configuration error with `what`, such as the run's name."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The message of an error on one line."""
    # str(KeyError) is its argument's representation.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


def few(items: Sequence[str], separator: str = ", ") -> str:
    """The first five items, and dots where there are more."""
    return separator.join([*items[:5], *(["..."] if len(items) > 5 else [])])


def clock(seconds: float) -> str:
    """A duration as hours:minutes:seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
