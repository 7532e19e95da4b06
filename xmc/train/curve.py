"""The loss curve of a run as a table and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from xmc.store import atomic_writer, write_text

COLUMNS = ("epoch", "step", "loss", "validation_p1", "learning_rate", "seconds")

MARGINS = (0.12, 0.13, 0.88, 0.94)  # left, bottom, right, top; to let matplotlib find them takes as long as to draw


def write_curve_table(path: Path, curve: Sequence[dict[str, float]]) -> None:
    """Write the curve as CSV, a row for each epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    write_text(path, text.getvalue())


def write_curve_picture(path: Path, curve: Sequence[dict[str, float]]) -> None:
    """Draw mean loss and validation P@1 against the epoch, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4))
    figure.subplots_adjust(*MARGINS)
    loss_axes = figure.add_subplot()
    epochs = [row["epoch"] for row in curve]
    loss_axes.plot(epochs, [row["loss"] for row in curve], "o-", color="tab:blue")
    loss_axes.set_xlabel("epoch")
    loss_axes.set_ylabel("mean training loss", color="tab:blue")
    loss_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    measured = [(row["epoch"], row["validation_p1"]) for row in curve if row["validation_p1"] >= 0]
    if measured:
        precision_axes = loss_axes.twinx()
        precision_axes.plot(*zip(*measured, strict=True), "s--", color="tab:orange")
        precision_axes.set_ylabel("validation P@1", color="tab:orange")
    with atomic_writer(path) as file:
        FigureCanvasAgg(figure).print_png(file)
