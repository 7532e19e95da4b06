"""The spectrum of the features, and predicted against measured held-out error along the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xmc.diagnose.dynamics import marchenko_pastur
from xmc.diagnose.report import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_diagnosis(found: Diagnosis) -> Figure:
    """Two panels: the spectrum beside that of random features; the curves with the stopping times."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    spectrum_axes, curve_axes = figure.subplots(1, 2)
    _draw_spectrum(spectrum_axes, found)
    curve_axes.plot(found.times_T, found.measured_T, color="tab:blue", label="measured, held-out")
    curve_axes.plot(found.times_T, found.predicted_T, "--", color="tab:orange", label="predicted")
    curve_axes.axvline(found.stopping_time, linestyle="--", color="tab:orange", label="predicted stop")
    curve_axes.axvline(found.measured_time, linestyle=":", color="tab:blue", label="measured best")
    if found.run_time is not None:
        curve_axes.axvline(found.run_time, color="black", linewidth=0.8, label="the run's head")
    curve_axes.set_xscale("log")
    top = 1.15 * max(1.0, float(found.predicted_T[0]))
    curve_axes.set_ylim(0.95 * float(found.measured_T.min()), min(top, 1.05 * float(found.measured_T.max())))
    curve_axes.set_xlabel("time of the gradient flow")
    curve_axes.set_ylabel("squared error over that of nothing learned")
    curve_axes.legend(fontsize="small")
    return figure


def _draw_spectrum(axes: Axes, found: Diagnosis) -> None:
    values = found.modes.eigenvalues_M / found.queries
    edges = np.geomspace(values.min() * 0.9, values.max() * 1.1, 40)
    axes.hist(values, bins=list(edges), color="tab:blue", label="features")
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    mean = float(values.sum() / found.features)
    density = marchenko_pastur(centres / mean, ratio=found.features / found.queries) / mean
    axes.plot(centres, found.features * density * widths, color="tab:red", label="random features")
    axes.set_xscale("log")
    axes.set_xlabel("eigenvalue of X'X / P")
    axes.set_ylabel("modes")
    axes.legend(fontsize="small")
