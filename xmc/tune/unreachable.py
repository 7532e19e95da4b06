"""The error of a goal that no index meets: what comes nearest, and what would have to give."""

from __future__ import annotations

from collections.abc import Sequence

from xmc.errors import ConfigError
from xmc.tune.goal import Goal, megabytes, milliseconds
from xmc.tune.measurement import Measurement
from xmc.tune.trial import Trial


def unreachable(goal: Goal, trials: Sequence[Trial]) -> ConfigError:
    """The error, to be raised."""
    points = [point for trial in trials for point in trial.points if point.stage != "sample"]
    if not points:
        tried = "; ".join(f"'{trial.candidate.name}' {trial.verdict}" for trial in trials)
        said = tried or "no installed backend proposes one"
        return ConfigError(f"no index serves the goal ({goal}): {said}.", hint=_memory(trials))
    inside = [point for point in points if not goal.is_too_slow(point)]
    nearest = max(inside, key=lambda point: point.recall) if inside else min(points, key=lambda point: point.latency_s)
    ways = [_memory(trials), _lower_recall(goal, inside), _more_time(goal, points)]
    return ConfigError(
        f"no index serves the goal ({goal}). The nearest is {nearest} with recall {nearest.recall:.3f}, "
        f"{milliseconds(nearest.latency_s)} a query and {megabytes(nearest.memory_bytes)}.",
        hint=" ".join(way for way in ways if way),
    )


def _memory(trials: Sequence[Trial]) -> str:
    """The smallest that was not built, or not used, for its size."""
    large = [trial.candidate for trial in trials if trial.verdict.startswith(("not built", "too large"))]
    if not large:
        return ""
    least = min(large, key=lambda candidate: candidate.estimated_bytes)
    exact = min((c for c in large if c.exact), key=lambda candidate: candidate.estimated_bytes, default=least)
    named = dict.fromkeys((least, exact))
    sizes = " or ".join(f"{megabytes(one.estimated_bytes)} for '{one.name}'" for one in named)
    return f"Allow more memory: {sizes} (estimated)."


def _lower_recall(goal: Goal, inside: Sequence[Measurement]) -> str:
    if goal.target_recall is None or not inside:
        return ""
    recall = max(point.recall for point in inside)
    return f"Ask for a recall of {int(recall * 1000) / 1000:.3f} or less." if recall < goal.target_recall else ""


def _more_time(goal: Goal, points: Sequence[Measurement]) -> str:
    late = [point for point in points if goal.is_too_slow(point) and goal.reaches(point)]
    if not late:
        return ""
    return f"Allow {milliseconds(min(point.latency_s for point in late))} a query."
