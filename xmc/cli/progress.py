"""How far `xmc train` is, on the error stream: a bar on a terminal, a line a minute in the log of a job."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import MofNCompleteColumn, TextColumn

from xmc.cli.bar import Bar
from xmc.cli.output import human_bytes
from xmc.counted import counted

if TYPE_CHECKING:
    from xmc.data.dataset import Dataset
    from xmc.train.plan import Plan

SMOOTHING = 0.05  # share of the newest step in the shown loss


class TrainingDisplay(Bar):
    """A reporter for the training loop that draws a bar with loss, queries a second and time left."""

    def __init__(self, *, quiet: bool = False) -> None:
        columns = MofNCompleteColumn(), TextColumn("{task.fields[detail]}")
        super().__init__(*columns, what="training", quiet=quiet, lines=True, transient=False)
        self._loss: float | None = None
        self._queries, self._steps_before, self._started = 0, 0, 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # what stopped early is at its end too
            self._progress.update(self._task, total=self._progress.tasks[self._task].completed)
        super().__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """Print a line above the bar; in a log it is one line whatever its length."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=not self._console.is_terminal)

    def show_data(self, data: Dataset) -> None:
        """Print what a head is fitted to in one go."""
        self.say(
            f"data '{data.name}': {counted(len(data.train), 'training query')}, {counted(len(data.labels), 'label')}"
        )
        self._show_notes(data)

    def _show_notes(self, data: Dataset) -> None:
        for note in data.notes:
            self.say(f"note: {note}")

    def show_plan(self, plan: Plan, data: Dataset) -> None:
        """Print what is about to happen."""
        texts = f" + {counted(plan.label_text_queries, 'label text')}" if plan.label_text_queries else ""
        self.say(
            f"data '{data.name}': {counted(plan.train_queries, 'training query')}{texts}, "
            f"{plan.validation_queries:,} for validation, {counted(plan.labels, 'label')}"
        )
        self._show_notes(data)
        drawn = " drawn for its batch" if plan.scored_labels < plan.labels else ""
        self.say(
            f"plan: {counted(plan.epochs, 'epoch')}, {counted(plan.steps, 'step')}, "
            f"each query against {counted(plan.scored_labels, 'label')}{drawn}, "
            f"{counted(plan.query_rows_at_once, 'row')} at once; {plan.device}, {plan.precision}, "
            f"{counted(plan.threads, 'thread')}"
            + (f" in each of {plan.processes} processes" if plan.processes > 1 else "")
        )
        self.say(
            f"memory: parameters {human_bytes(plan.parameter_bytes)}, label embeddings "
            f"{human_bytes(plan.label_embedding_bytes)}, scores {human_bytes(plan.score_bytes)}; "
            f"estimated peak beside the data {human_bytes(plan.peak_bytes)}"
        )

    def step_finished(self, step: int, total_steps: int, loss: float, queries: int) -> None:
        """Move the bar; what is fitted in one go has no loss of a step (NaN)."""
        if self._loss is None:
            self._loss, self._started, self._steps_before = loss, time.monotonic(), step
        else:
            self._queries += queries
        self._loss += SMOOTHING * (loss - self._loss)
        seconds = time.monotonic() - self._started
        rate = self._queries / max(seconds, 1e-9)
        detail = "" if math.isnan(loss) else f"loss {self._loss:.4f}  {rate:,.0f} queries/s"
        self._progress.update(self._task, completed=step, total=total_steps, detail=detail, visible=True)
        if self._lines:
            done, total = step - self._steps_before, total_steps - self._steps_before
            self._lines.show(f"step {step:,}/{total_steps:,}  {detail}", done=done, total=total, seconds=seconds)

    def epoch_finished(self, row: Mapping[str, float]) -> None:
        """Print the figures of an epoch."""
        validation = f"  validation P@1 {row['validation_p1']:.4f}" if row["validation_p1"] >= 0 else ""
        loss = f"loss {row['loss']:.4f}" if "loss" in row else "fitted"
        self.say(f"epoch {row['epoch']:.0f}: {loss}{validation}  {row['seconds']:.0f} s")
