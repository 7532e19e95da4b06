"""Return against risk: what each candidate is expected to earn, and how uncertain that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmc.choose.report import ChoiceReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"better": "tab:green", "worse": "tab:red", "unclear": "tab:blue", "unreliable": "tab:gray"}


def draw_choice(report: ChoiceReport) -> Figure:
    """A point for each candidate that could be judged, with its interval; the dotted line is the log's own value."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.subplots()
    for candidate in report.candidates:
        if candidate.gain is None or candidate.risk is None:
            continue
        estimate, colour = candidate.estimates[report.options.estimator], COLOURS[candidate.verdict]
        axes.vlines(candidate.risk, *estimate.ends, color=colour)
        axes.plot(candidate.risk, estimate.value, "o", color=colour)
        if candidate.name in report.truths:
            axes.plot(candidate.risk, report.truths[candidate.name], "x", color="black")
        place = (candidate.risk, estimate.value)
        axes.annotate(candidate.name, place, xytext=(6, 4), textcoords="offset points", fontsize="small")
    axes.axhline(report.behaviour.value, linestyle=":", color="black")
    risks = [candidate.risk for candidate in report.candidates if candidate.risk]
    axes.set_xlim(0, 1.25 * max(risks, default=1.0))  # with room for the names
    axes.set_xlabel("risk: standard error of the gain over the log")
    axes.set_ylabel(f"return: reward of a list, by {report.options.estimator}")
    shown = dict.fromkeys(candidate.verdict for candidate in report.candidates if candidate.gain)
    marks = [Line2D([], [], marker="o", linestyle="", color=COLOURS[verdict], label=verdict) for verdict in shown]
    marks.append(Line2D([], [], linestyle=":", color="black", label="what made the log"))
    if report.truths:
        marks.append(Line2D([], [], marker="x", linestyle="", color="black", label="true value"))
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), fontsize="small")
    return figure
