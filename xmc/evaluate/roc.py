"""The ROC curve of pooled scores as points, as a table and as a picture."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.counted import counted
from xmc.evaluate.auc import PooledAuc
from xmc.store import atomic_writer, write_text

STEPS = 500
COLUMNS = ("score", "false_positive_rate", "true_positive_rate")


@dataclass(frozen=True)
class RocCurve:
    """Points of an ROC curve, from (0, 0) to (1, 1): the rates of what scores at least `scores_T`. Shapes: all (T,)."""

    scores_T: NDArray[Any]
    false_positive_rates_T: NDArray[Any]
    true_positive_rates_T: NDArray[Any]


def roc_curve(positive_scores_P: NDArray[Any], negative_scores_N: NDArray[Any], *, steps: int = STEPS) -> RocCurve:
    """Exact points of the curve at the quantiles of both sides, so that without ties no step is above 1 / steps.

    Neither side may be empty.

    >>> curve = roc_curve(np.array([0.8, 0.5]), np.array([0.5, 0.1]))
    >>> curve.false_positive_rates_T.tolist(), curve.true_positive_rates_T.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    sides = [np.sort(scores) for scores in (negative_scores_N, positive_scores_P)]
    places = [np.linspace(0, len(side) - 1, min(steps + 1, len(side))).astype(np.int64) for side in sides]
    scores_T = np.unique(np.concatenate([side[place] for side, place in zip(sides, places, strict=True)]))[::-1]
    rates = [1 - np.searchsorted(side, scores_T, side="left") / len(side) for side in sides]
    columns = zip((np.inf, 0.0, 0.0), (scores_T, *rates), strict=True)
    return RocCurve(*(np.concatenate(([first], rest)) for first, rest in columns))


def write_roc_table(path: Path, curve: RocCurve) -> None:
    """Write the points as CSV, the highest cut-off first; that of the first point is `inf`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    columns = (curve.scores_T, curve.false_positive_rates_T, curve.true_positive_rates_T)
    writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
    write_text(path, text.getvalue())


def write_roc_picture(path: Path, curve: RocCurve, auc: PooledAuc) -> None:
    """Draw the curve and what it is made of, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.false_positive_rates_T, curve.true_positive_rates_T, color="tab:blue")
    axes.plot([0, 1], [0, 1], ":", color="tab:gray")
    axes.set_aspect("equal")
    axes.set_title(f"AUC {auc.value:.4f} over {counted(auc.queries, 'query')} together")
    axes.set_xlabel(f"share of the {counted(auc.negatives, 'negative')} (per query the {auc.top_negatives:,} highest)")
    axes.set_ylabel(f"share of the {counted(auc.positives, 'positive')}")
    with atomic_writer(path) as file:
        FigureCanvasAgg(figure).print_png(file)
