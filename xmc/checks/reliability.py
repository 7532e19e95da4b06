"""The reliability diagram: in each bin the mean probability beside the hit rate, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.checks.calibration_error import Bins

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
Z = 1.959964  # of a 95 % interval


def wilson_interval(rates: Array, counts: Array) -> tuple[Array, Array]:
    """The ends of the 95 % interval of shares of `counts` trials.

    Reference: Wilson 1927.

    >>> low, high = wilson_interval(np.array([0.5]), np.array([100]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.404], [0.596])
    """
    middle = (rates + Z**2 / (2 * counts)) / (1 + Z**2 / counts)
    half = Z / (1 + Z**2 / counts) * np.sqrt(rates * (1 - rates) / counts + Z**2 / (4 * counts**2))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def reliability_table(bins_of: Mapping[tuple[int, str], Bins]) -> dict[str, Sequence[Any]]:
    """Columns of the table; the keys are (k, `before` or `after`)."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("k", "stage", "bin", "pairs", "mean_probability", "hit_rate", "low", "high")
    }
    for (k, stage), bins in bins_of.items():
        low_B, high_B = wilson_interval(bins.hit_rates_B, bins.counts_B)
        rows = len(bins.counts_B)
        columns["k"] += [k] * rows
        columns["stage"] += [stage] * rows
        columns["bin"] += range(1, rows + 1)
        numbers = (bins.counts_B, bins.mean_probabilities_B, bins.hit_rates_B, low_B, high_B)
        for name, values in zip(("pairs", "mean_probability", "hit_rate", "low", "high"), numbers, strict=True):
            columns[name] += values.tolist()
    return dict(columns)


def draw_reliability(bins_of: Mapping[tuple[int, str], Bins]) -> Figure:
    """A panel for each k, before and after, with the pairs of each bin below."""
    from matplotlib.figure import Figure

    ks = sorted({k for k, _ in bins_of})
    figure = Figure(figsize=(4.2 * len(ks), 5.4), layout="constrained")
    panels = figure.subplots(2, len(ks), squeeze=False, height_ratios=(4, 1))
    for column, k in enumerate(ks):
        axes, below = panels[0][column], panels[1][column]
        axes.plot([0, 1], [0, 1], ":", color="tab:gray")
        for stage, colour in (("before", "tab:orange"), ("after", "tab:blue")):
            bins = bins_of[k, stage]
            low_B, high_B = wilson_interval(bins.hit_rates_B, bins.counts_B)
            reach = np.maximum([bins.hit_rates_B - low_B, high_B - bins.hit_rates_B], 0)
            axes.errorbar(
                bins.mean_probabilities_B, bins.hit_rates_B, yerr=reach, fmt="o-", color=colour, label=stage, capsize=2
            )
        after = bins_of[k, "after"]
        below.vlines(after.mean_probabilities_B, 0, after.counts_B, color="tab:blue")
        axes.set(title=f"ranks 1 to {k}" if k > 1 else "rank 1", ylabel="hit rate", xlim=(0, 1), ylim=(0, 1))
        below.set(xlabel="mean probability", ylabel="pairs", xlim=(0, 1), ylim=(0, None))
    panels[0][0].legend()
    return figure
