"""Lines about progress in the log of a job, where no bar can be drawn: one a minute."""

from __future__ import annotations

import time

from rich.console import Console

LINE_EVERY_S = 60.0


class LogLines:
    """Writes what it is told, with the time that is left, when a minute has passed since its last line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = time.monotonic()

    def show(self, words: str, *, done: int, total: int, seconds: float) -> None:
        """Write a line if it is time for one: `done` of `total` took so many seconds."""
        now = time.monotonic()
        if not done or now - self._said < LINE_EVERY_S:
            return
        self._said = now
        self._console.print(f"{words}{time_left(done, total, seconds)}", highlight=False, markup=False, soft_wrap=True)


def time_left(done: int, total: int, seconds: float) -> str:
    """How long it still takes at the pace so far; nothing before there is one.

    >>> time_left(250, 1000, 60.0), time_left(0, 1000, 60.0)
    ('  0:03:00 left', '')
    """
    if not done:
        return ""
    remaining = round(seconds * max(total - done, 0) / done)
    return f"  {remaining // 3600}:{remaining // 60 % 60:02}:{remaining % 60:02} left"
