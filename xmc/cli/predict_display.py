"""How far `xmc predict` is, on the error stream: a bar on a terminal, a line a minute in the log of a job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import TaskProgressColumn, TextColumn

from xmc.cli.bar import Bar
from xmc.counted import counted

if TYPE_CHECKING:
    from xmc.predict.report import Progress


class PredictDisplay(Bar):
    """Shards and rows done, rows a second, time left; the share that is done is that of the bytes of the shards."""

    def __init__(self, *, quiet: bool = False) -> None:
        columns = TaskProgressColumn(), TextColumn("{task.fields[detail]}")
        super().__init__(*columns, what="predicting", quiet=quiet, lines=True)
        self._started = time.monotonic()

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
    rate = rate_words(progress.rows, seconds)
    return (
        f"{progress.shards:,}/{counted(progress.total_shards, 'shard')}{failed}  "
        f"{counted(progress.rows, 'row')}  {rate}"
    )


def rate_words(rows: int, seconds: float) -> str:
    """Rows a second; of few rows, which the start took most of the time for, not rounded to 0.

    >>> rate_words(4800, 2.0), rate_words(1, 4.0)
    ('2,400 rows/s', '0.25 rows/s')
    """
    rate = rows / max(seconds, 1e-9)
    return f"{rate:,.0f} rows/s" if rate >= 10 else f"{rate:.2g} rows/s"
