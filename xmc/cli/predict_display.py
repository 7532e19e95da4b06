"""How far `xmc predict` is, on the error stream: a bar on a terminal, a line a minute in the log of a job."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Display

from xmc.cli.log_lines import LogLines

if TYPE_CHECKING:
    from xmc.predict.report import Progress


class PredictDisplay:
    """Shards and rows done, rows a second, time left; the share that is done is that of the bytes of the shards."""

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True, quiet=quiet)
        self._progress = Display(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("predicting", total=None, detail="", visible=False)
        self._lines = None if quiet or console.is_terminal else LogLines(console)
        self._started = time.monotonic()

    def __enter__(self) -> PredictDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, progress: Progress) -> None:
        """Move the bar, or write a line when it is time for one."""
        seconds = time.monotonic() - self._started
        words = described(progress, seconds)
        if self._lines:
            self._lines.show(words, done=progress.size, total=progress.total_size, seconds=seconds)
            return
        self._progress.update(
            self._task,
            completed=progress.size,
            total=progress.total_size,
            detail=words,
            visible=True,
        )


def described(progress: Progress, seconds: float) -> str:
    """What is done, and how fast.

    >>> from xmc.predict.report import Progress
    >>> described(Progress(40, 1000, shards=9, rows=4800, size=250, failed=1), 60.0)
    '9/40 shards  1 failed  4,800 rows  80 rows/s'
    """
    failed = f"  {progress.failed:,} failed" if progress.failed else ""
    rate = progress.rows / max(seconds, 1e-9)
    return f"{progress.shards:,}/{progress.total_shards:,} shards{failed}  {progress.rows:,} rows  {rate:,.0f} rows/s"
