"""How a verb tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from xmc.errors import ConfigError

Progress = Callable[[str, int, int], None]  # what is under way (the name of a check, a run, a training), done, total


def say_nothing(what: str, done: int, total: int) -> None:
    """The progress that nobody asked for."""


def given_progress(on_progress: Any) -> Progress:
    """Whom a caller wants to be told; None is nobody. Raises: ConfigError for what is no function."""
    if on_progress is None:
        return say_nothing
    if not callable(on_progress):
        raise ConfigError(f"on_progress must be a function, got {type(on_progress).__name__}.")
    return cast("Progress", on_progress)


def counting(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """A function to call with how many more are done; it adds them up and calls `progress(done, total)`.

    >>> more = counting(print, 3)
    >>> more(2), more(1)
    2 3
    3 3
    (None, None)
    """
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, total)

    return count
