"""How a verb tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is under way (the name of a check, a run, a training), done, total


def say_nothing(what: str, done: int, total: int) -> None:
    """The progress that nobody asked for."""
