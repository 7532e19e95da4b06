"""The error of a goal that no index meets: what comes nearest, and what would have to give."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xmc.errors import ConfigError
from xmc.tune.goal import MEGABYTE, Goal, megabytes, milliseconds
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
    large = [trial for trial in trials if trial.verdict.startswith(("not built", "too large"))]
    if not large:
        return ""
    least = min(large, key=_bytes_of)
    exact = min((trial for trial in large if trial.candidate.exact), key=_bytes_of, default=least)
    named = {id(trial): trial for trial in (least, exact)}.values()
    sizes = " or ".join(f"{_enough(_bytes_of(one))} for '{one.candidate.name}'" for one in named)
    return f"Allow more memory: {sizes}{'' if least.report and exact.report else ' (estimated)'}."


def _bytes_of(trial: Trial) -> int:
    """What it holds, or what is estimated where it was not built."""
    return trial.report.memory_bytes if trial.report else trial.candidate.estimated_bytes


def _enough(count: int) -> str:
    """A size rounded up and without commas, so that it can be given as a goal and so many bytes meet it.

    >>> _enough(5040), megabytes(5040)
    ('5.0 kB', '4.9 kB')
    """
    tenth = (MEGABYTE if count >= MEGABYTE else 1024) / 10
    return megabytes(math.ceil(math.ceil(count / tenth) * tenth)).replace(",", "")


def _lower_recall(goal: Goal, inside: Sequence[Measurement]) -> str:
    if goal.target_recall is None or not inside:
        return ""
    recall = max(point.recall for point in inside)
    return f"Ask for a recall of {int(recall * 1000) / 1000:.3f} or less." if recall < goal.target_recall else ""


def _more_time(goal: Goal, points: Sequence[Measurement]) -> str:
    late = [point for point in points if goal.is_too_slow(point) and goal.reaches(point)]
    if not late:
        return ""
    return f"Allow {_enough_time(min(point.latency_s for point in late))} a query."


def _enough_time(seconds: float) -> str:
    """A time rounded up to two digits, so that it can be given as a goal and what took so long meets it.

    >>> _enough_time(0.0023449), milliseconds(0.0023449), _enough_time(1.2)
    ('2.4 ms', '2.34 ms', '1300 ms')
    """
    decimals = 1 - math.floor(math.log10(1000 * seconds))
    return f"{(math.floor(1000 * seconds * 10.0**decimals) + 1) / 10.0**decimals:.{max(0, decimals)}f} ms"
