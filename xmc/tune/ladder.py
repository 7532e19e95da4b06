"""Climbing the search options of an index: from the fastest up to where the goal is passed, then closing in.

A ladder gives steps from the fastest to the best. Where two neighbours differ in whole numbers only, what lies between
is a setting too, so the border of the goal is found by halving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

HALVINGS = 8

Point = TypeVar("Point")
Step = Mapping[str, Any]


def climb(
    steps: Sequence[Step],
    measure: Callable[[Step], Point],
    *,
    passed: Callable[[Point], bool],
    hopeless: Callable[[Sequence[Point]], bool] = lambda points: False,
    settled: Callable[[Point], bool] = lambda point: False,
) -> list[Point]:
    """Measure the steps until one is `passed` or the climb is `hopeless`; then halve the last gap until `settled`.

    >>> climb([{"n": 1}, {"n": 8}, {"n": 64}], lambda step: step["n"], passed=lambda n: n >= 5)
    [1, 8, 4, 6, 5]
    """
    points: list[Point] = []
    for place, step in enumerate(steps):
        points.append(measure(step))
        if passed(points[-1]):
            if place > 0 and not settled(points[-1]):
                points += _close_in(steps[place - 1], step, measure, passed, settled)
            break
        if hopeless(points):
            break
    return points


def _close_in(
    below: Step,
    above: Step,
    measure: Callable[[Step], Point],
    passed: Callable[[Point], bool],
    settled: Callable[[Point], bool],
) -> list[Point]:
    points: list[Point] = []
    while len(points) < HALVINGS and (middle := midpoint(below, above)) is not None:
        points.append(measure(middle))
        if passed(points[-1]):
            above = middle
            if settled(points[-1]):
                break
        else:
            below = middle
    return points


def midpoint(below: Step, above: Step) -> Step | None:
    """The setting half-way between two, None where nothing lies between or other things than whole numbers differ.

    >>> midpoint({"nprobe": 4, "exact": True}, {"nprobe": 9, "exact": True})
    {'nprobe': 6, 'exact': True}
    >>> midpoint({"nprobe": 4}, {"nprobe": 5}), midpoint({"mode": "a"}, {"mode": "b"})
    (None, None)
    """
    if set(below) != set(above):
        return None
    differing = [name for name in below if below[name] != above[name]]
    if not all(_is_whole(step[name]) for step in (below, above) for name in differing):
        return None
    middle = {**below, **{name: (below[name] + above[name]) // 2 for name in differing}}
    return None if middle == dict(below) or middle == dict(above) else middle


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
