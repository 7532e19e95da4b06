"""Finished runs as points of the laws, and what a larger run is to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xmc.counted import counted
from xmc.errors import DataError
from xmc.scale.laws import FLOPS_A_PAIR, Array

LEAST_RUNS = 5
LEAST_SPREAD = 2.0  # the largest run must have at least so many times the pairs of the smallest


@dataclass(frozen=True)
class Size:
    """How large a training is: parameters of encoder and labels, (query, positive) pairs seen, and the work of it.

    `scores` are those of queries against labels, `steps` those of the optimiser.
    """

    parameters: int
    pairs: int
    queries: int
    scores: int
    steps: int
    dimension: int

    @property
    def compute(self) -> float:
        """C = 6 N D."""
        return FLOPS_A_PAIR * self.parameters * self.pairs

    def work(self) -> list[float]:
        """What seconds go by: a start, queries, products of queries and labels, updates of parameters."""
        return [1.0, float(self.queries), float(self.scores * self.dimension), float(self.steps * self.parameters)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "compute": self.compute}


@dataclass(frozen=True)
class Point:
    """A finished run: its size, and its figures on `held_out` queries that it was not trained on."""

    name: str
    size: Size
    loss: float
    p1: float
    held_out: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "size": self.size.to_dict()}


@dataclass(frozen=True)
class Columns:
    """The points as arrays, (R,) each; `work_RF` is (R, F)."""

    parameters_R: Array
    pairs_R: Array
    losses_R: Array
    errors_R: Array
    held_out_R: Array
    seconds_R: Array
    work_RF: Array


def columns(points: Sequence[Point]) -> Columns:
    """The points as arrays.

    Raises: DataError for fewer than five of them, for runs that are all of about one size, and for a loss of 0.
    """
    if len(points) < LEAST_RUNS:
        names = ", ".join(point.name for point in points) or "none"
        raise DataError(
            f"a scaling law needs at least {LEAST_RUNS} finished runs, got {len(points):,} ({names}).",
            hint="Train more, of other sizes, or let xmc scale make the ladder: xmc scale --data NAME --out FOLDER",
        )
    pairs = [point.size.pairs for point in points]
    if max(pairs) < LEAST_SPREAD * min(pairs):
        raise DataError(
            f"the runs saw {min(pairs):,} to {counted(max(pairs), 'pair')}: too much alike to tell what "
            "more would bring.",
            hint=f"The largest should have at least {LEAST_SPREAD:g} times the pairs of the smallest.",
        )
    for point in points:
        if not point.loss > 0:
            raise DataError(f"run '{point.name}' has the loss {point.loss:g} on held-out queries; it must be above 0.")

    def column(values: Sequence[float]) -> Array:
        return np.array(values, np.float64)

    return Columns(
        column([point.size.parameters for point in points]),
        column(pairs),
        column([point.loss for point in points]),
        column([1.0 - point.p1 for point in points]),
        column([point.held_out for point in points]),
        column([point.seconds for point in points]),
        np.array([point.size.work() for point in points], np.float64),
    )
