"""A bar on the error stream, drawn while something is worked at; in the log of a job, a line a minute."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from xmc.cli.log_lines import LogLines


class Bar:
    """What is going on, `columns` of how much is done, how long it has taken and still takes.

    With `lines` it is for a terminal only, and the log of a job gets `_lines`. A `transient` one goes at the end.
    """

    def __init__(
        self, *columns: ProgressColumn, what: str = "", quiet: bool, lines: bool = False, transient: bool = True
    ) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        in_a_log = lines and not self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or in_a_log,
            transient=transient,
        )
        self._lines = LogLines(self._console) if in_a_log and not quiet else None
        self._task = self._progress.add_task(what, total=None, detail="", visible=False)
        self._done, self._total, self._done_before, self._count_started = 0, 0, 0, 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def count(self, what: str, done: int, total: int) -> None:
        """Move the bar for what is counted, or write a line when it is time for one."""
        if self._lines is None:
            self._progress.update(self._task, description=what, completed=done, total=total, detail="", visible=True)
            return
        now = time.monotonic()
        if total != self._total or done < self._done:  # another thing is counted from here on
            self._total, self._done_before, self._count_started = total, done, now
        self._done = done
        if done == total:  # nothing is left to wait for
            return
        counted = {"done": done - self._done_before, "total": total - self._done_before}
        self._lines.show(f"{what}  {done:,}/{total:,}", **counted, seconds=now - self._count_started)


class CountDisplay(Bar):
    """What is counted: what is going on, how much of it is done, how long it still takes."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(MofNCompleteColumn(), quiet=quiet, lines=True)
