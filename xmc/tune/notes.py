"""What a reader of a choice should know beside its figures."""

from __future__ import annotations

from xmc.counted import counted
from xmc.tune.goal import Goal, milliseconds
from xmc.tune.measurement import Measurement
from xmc.tune.trial import Trial

TOLERANCE = 0.01  # of recall around the target


def notes_of(goal: Goal, trial: Trial, chosen: Measurement, judged: Measurement) -> list[str]:
    """A sentence for each thing that is not as one might expect."""
    notes = []
    if goal.target_recall is not None:
        notes += _above_target(goal.target_recall, trial, chosen)
        if judged.recall < goal.target_recall - TOLERANCE:
            notes.append(
                f"on the {counted(judged.queries, 'query')} that did not choose, the recall is {judged.recall:.3f} "
                f"[{judged.low:.3f}, {judged.high:.3f}], below the {goal.target_recall:g} asked for."
            )
    spread = (judged.high - judged.low) / 2
    if spread > TOLERANCE:
        notes.append(
            f"{counted(judged.queries, 'query tells', 'queries tell')} the recall to ± {spread:.3f} "
            "only: hold out more."
        )
    if goal.is_too_slow(judged):
        notes.append(f"when judged, the median query took {milliseconds(judged.latency_s)}: timings vary.")
    return notes


def _above_target(target: float, trial: Trial, chosen: Measurement) -> list[str]:
    if trial.candidate.exact:
        return ["nothing that serves the goal here is faster than exact search: an approximate one would gain nothing."]
    if chosen.recall <= target + TOLERANCE:
        return []
    below = [point.recall for point in trial.points if point.recall < target]
    if below:
        return [f"no setting of this index has a recall between {max(below):.3f} and {chosen.recall:.3f}."]
    return [f"the fastest setting of this index already has recall {chosen.recall:.3f}."]
