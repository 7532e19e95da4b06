"""The curve of a choice as a picture: what recall costs in speed, and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xmc.tune.choose import Choice
from xmc.tune.goal import MEGABYTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(choice: Choice) -> Figure:
    """Recall against queries a second and against memory, a line for each candidate, a star for the choice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    speed_axes, memory_axes = figure.subplots(1, 2)
    for trial in choice.trials:
        if not trial.points:
            continue
        points = sorted(trial.points, key=lambda point: point.recall)
        recalls = [point.recall for point in points]
        speeds = [point.queries_per_s for point in points]
        speed_axes.plot(recalls, speeds, "o-", markersize=4, label=str(trial.candidate))
        memory_axes.plot(recalls[-1:], [points[0].memory_bytes / MEGABYTE], "o")
    judged = choice.judged
    star: dict[str, Any] = {"marker": "*", "markersize": 15, "color": "black", "linestyle": "none"}
    speed_axes.plot([judged.recall], [judged.queries_per_s], label="chosen, as judged", **star)
    memory_axes.plot([judged.recall], [judged.memory_bytes / MEGABYTE], **star)
    _finish(choice, speed_axes, memory_axes)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


def _finish(choice: Choice, speed_axes: Axes, memory_axes: Axes) -> None:
    goal = choice.goal
    for axes in (speed_axes, memory_axes):
        axes.set_xlabel(f"recall@{goal.k} against exact search")
        axes.set_yscale("log")
        if goal.target_recall is not None:
            axes.axvline(goal.target_recall, linestyle=":", color="tab:gray")
    speed_axes.set_ylabel(f"queries a second, in batches of {goal.batch_size}")
    memory_axes.set_ylabel("memory of the index in MB (at the best recall of each)")
    if goal.memory_bytes is not None:
        memory_axes.axhline(goal.memory_bytes / MEGABYTE, linestyle=":", color="tab:gray")
