"""The curve of a choice as a picture: what recall costs in speed, and in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from xmc.tune.choose import Choice
from xmc.tune.goal import MEGABYTE
from xmc.tune.measurement import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_OPTIONS = 3


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
        speed_axes.plot(recalls, speeds, "o-", markersize=4, label=label(points[0]))
        memory_axes.plot(recalls[-1:], [points[0].memory_bytes / MEGABYTE], "o")
    judged = choice.judged
    star: dict[str, Any] = {"marker": "*", "markersize": 15, "color": "black", "linestyle": "none"}
    speed_axes.plot([judged.recall], [judged.queries_per_s], label="chosen, as judged", **star)
    memory_axes.plot([judged.recall], [judged.memory_bytes / MEGABYTE], **star)
    _finish(choice, speed_axes, memory_axes)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


def label(point: Measurement) -> str:
    """A candidate in few words: its name and the first of its options that are numbers or words."""
    options = {name: value for name, value in point.options.items() if name not in point.search_options}
    shown = [f"{name} {value}" for name, value in options.items() if _is_short(value)][:SHOWN_OPTIONS]
    return f"{point.backend}" + (f" ({', '.join(shown)})" if shown else "")


def _is_short(value: object) -> bool:
    return value is not None and value != "" and len(json.dumps(value, default=str)) <= 24


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
