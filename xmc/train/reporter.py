"""Who watches a training run go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Reporter(Protocol):
    """Sees a run go by; the command line draws a progress bar from it."""

    def step_finished(self, step: int, total_steps: int, loss: float, queries: int) -> None:
        """After every step; `queries` is the size of its batch."""

    def epoch_finished(self, row: Mapping[str, float]) -> None:
        """After every epoch, with its row of the curve."""


class SilentReporter:
    """Says nothing."""

    def step_finished(self, step: int, total_steps: int, loss: float, queries: int) -> None:
        """Nothing."""

    def epoch_finished(self, row: Mapping[str, float]) -> None:
        """Nothing."""
