"""The runs, the law through them and the predicted run: loss, 1 - P@1 and seconds against pairs seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xmc.evaluate.figures import Figure as Predicted
from xmc.scale.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown")


def draw_scale(prediction: Prediction) -> Figure:
    """Three panels over the pairs seen, on logarithmic axes; a colour for each width, the prediction in red."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    loss_axes, error_axes, seconds_axes = figure.subplots(1, 3)
    p1 = prediction.p1
    low, high = p1.ends
    error = Predicted(1 - p1.value, 1 - high, 1 - low)
    _draw(loss_axes, prediction, [point.loss for point in prediction.points], prediction.loss, "validation loss")
    _draw(error_axes, prediction, [1 - point.p1 for point in prediction.points], error, "1 - P@1")
    _draw(seconds_axes, prediction, [point.seconds for point in prediction.points], prediction.seconds, "seconds")
    _draw_law(loss_axes, prediction)
    loss_axes.legend(fontsize="small")
    return figure


def _draw(axes: Axes, prediction: Prediction, values: list[float], predicted: Predicted, name: str) -> None:
    for colour, width in zip(COLOURS * len(values), _widths(prediction), strict=False):
        chosen = [row for row, point in enumerate(prediction.points) if point.size.dimension == width]
        pairs = [prediction.points[row].size.pairs for row in chosen]
        axes.plot(pairs, [values[row] for row in chosen], "o", color=colour, label=f"runs, {width} wide")
    place = prediction.target.pairs
    axes.vlines(place, *predicted.ends, color="tab:red")
    axes.plot(place, predicted.value, "*", color="tab:red", markersize=11, label="predicted, 95 %")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("(query, positive) pairs seen")
    axes.set_title(name, fontsize="medium")


def _draw_law(axes: Axes, prediction: Prediction) -> None:
    """The law of the loss at the size of the target, from the smallest run on."""
    least = min(point.size.pairs for point in prediction.points)
    pairs = np.geomspace(min(least, prediction.target.pairs), max(least, prediction.target.pairs), 50)
    losses = prediction.loss_fit.law(np.full(50, float(prediction.target.parameters)), pairs)
    axes.plot(pairs, losses, ":", color="black", label="law at the target's size")


def _widths(prediction: Prediction) -> list[int]:
    return sorted({point.size.dimension for point in prediction.points})
