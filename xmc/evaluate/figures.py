"""Named figures with intervals: what a report is made of."""

from __future__ import annotations

from dataclasses import dataclass

from xmc.evaluate.bootstrap import bootstrap_intervals
from xmc.evaluate.measurement import Measurement
from xmc.evaluate.options import EvaluateOptions


@dataclass(frozen=True)
class Figure:
    """One number with the ends of its 95 % interval, None when no interval was asked for."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval, the value itself where there is none; an end of 0 is one."""
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        return low, high


@dataclass(frozen=True)
class GroupReport:
    """The figures of all labels or of one band.

    They come from the `queries` that have a positive in it; `pairs` counts (query, positive).

    `figures` is empty when the group has no query.
    """

    name: str
    queries: int
    labels: int
    pairs: int
    figures: dict[str, Figure]

    def value(self, name: str) -> float | None:
        """The value of one figure, None when the group does not have it."""
        figure = self.figures.get(name)
        return None if figure is None else figure.value


def figures_of(
    measurement: Measurement, options: EvaluateOptions, *, less: Measurement | None = None
) -> dict[str, Figure]:
    """The figures of a measurement by name, with bootstrap intervals unless `options.bootstrap_samples` is 0.

    With `less`, a measurement of the same queries, how much larger each is than there, with paired intervals.
    """
    values = (measurement.values() - (less.values() if less else 0)).tolist()
    if options.bootstrap_samples == 0:
        return {name: Figure(value) for name, value in zip(measurement.names, values, strict=True)}
    ends = bootstrap_intervals(measurement, samples=options.bootstrap_samples, seed=options.bootstrap_seed, less=less)
    rows = zip(values, *ends.tolist(), strict=True)
    return {name: Figure(*row) for name, row in zip(measurement.names, rows, strict=True)}
