"""A bar on the error stream, drawn while something is worked at."""

from __future__ import annotations

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

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class CountDisplay(Bar):
    """For work that is counted."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(MofNCompleteColumn(), quiet=quiet)

    def show(self, what: str, done: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, description=what, completed=done, total=total, visible=True)
