"""One candidate tried: built, its search options climbed, every setting measured."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xmc.errors import XmcError
from xmc.index_building import build_index
from xmc.index_contract import Index, IndexBackend, TunableIndex
from xmc.tune.candidates import Candidate
from xmc.tune.goal import Goal, megabytes
from xmc.tune.label_vectors import LabelVectors
from xmc.tune.ladder import Step, climb
from xmc.tune.measurement import Measurement, Stage
from xmc.tune.ruler import Ruler
from xmc.values import IndexReport

CLOSE_ENOUGH = 0.002  # of recall above the target: closing in further would follow the noise
CLEARLY = 1.5  # a factor of speed that the noise of timing does not make
PLATEAU, PLATEAU_STEPS = 0.0005, 3


@dataclass
class Trial:
    """What came of a candidate: the measured settings, and in words whether and why it was taken."""

    candidate: Candidate
    points: list[Measurement] = field(default_factory=list)
    index: Index | None = None
    report: IndexReport | None = None
    verdict: str = ""

    @property
    def best_recall(self) -> float:
        """The highest recall measured, 0 where nothing was."""
        return max((point.recall for point in self.points), default=0.0)

    def best(self, goal: Goal) -> Measurement | None:
        """The setting that meets the goal and serves it best."""
        return max(filter(goal.meets, self.points), key=goal.worth, default=None)

    def searched_with(self, options: Mapping[str, Any]) -> Index:
        """The built index with search options of its ladder; itself without any."""
        if self.index is None:
            raise ValueError("the candidate was not built, or was let go")
        if not options or not isinstance(self.index, TunableIndex):
            return self.index
        return self.index.with_search_options(options)

    def release(self) -> None:
        """Let go of the built index; what was measured stays."""
        self.index = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the points, which are a table."""
        return {
            "backend": self.candidate.name,
            "options": options_of(self.candidate.backend),
            "estimated_bytes": self.candidate.estimated_bytes,
            "memory_bytes": self.report.memory_bytes if self.report else None,
            "build_s": round(self.report.build_s, 3) if self.report else None,
            "best_recall": self.best_recall if self.points else None,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Bench:
    """What every candidate is tried with."""

    goal: Goal
    labels: LabelVectors
    ruler: Ruler
    device: str
    stage: Stage = "choosing"


def try_candidate(bench: Bench, candidate: Candidate, *, to_beat: Measurement | None = None) -> Trial:
    """Build a candidate and climb its ladder; one that is refused or too large has a verdict and no points.

    `to_beat` ends a climb that has become clearly slower than what is already known to reach the recall.
    """
    goal, trial = bench.goal, Trial(candidate)
    if goal.is_too_large(candidate.estimated_bytes):
        trial.verdict = f"not built: an estimated {megabytes(candidate.estimated_bytes)}"
        return trial
    try:
        labels = bench.labels
        trial.index = build_index(
            candidate.backend, labels.chunks(), labels=len(labels), similarity=labels.similarity, device=bench.device
        )
        trial.report = trial.index.report
        if goal.is_too_large(trial.report.memory_bytes):
            trial.verdict = f"too large: {megabytes(trial.report.memory_bytes)}"
            return trial
        trial.points = climb(
            trial.index.search_ladder() if isinstance(trial.index, TunableIndex) else [{}],
            functools.partial(measure, bench, trial),
            passed=goal.ends,
            hopeless=functools.partial(_is_hopeless, goal, to_beat),
            settled=functools.partial(_is_settled, goal),
        )
        trial.verdict = _verdict(goal, trial)
    except XmcError as error:
        trial.verdict = f"refused: {error}"
    return trial


def measure(bench: Bench, trial: Trial, step: Step) -> Measurement:
    """Measure the built index with the search options of one step."""
    index = trial.searched_with(step)
    return Measurement(
        backend=trial.candidate.name,
        options=options_of(trial.candidate.backend),
        search_options=dict(step),
        stage=bench.stage,
        queries=len(bench.ruler.reference),
        memory_bytes=index.report.memory_bytes,
        build_s=index.report.build_s,
        **dataclasses.asdict(bench.ruler.read(index)),
    )


def options_of(backend: IndexBackend) -> dict[str, Any]:
    """The options of a backend, which is a dataclass by contract, as plain values."""
    values: Any = backend
    return dataclasses.asdict(values)


def _is_hopeless(goal: Goal, to_beat: Measurement | None, points: Sequence[Measurement]) -> bool:
    """Whether climbing on is in vain: slower than what reaches the recall already, or no better for three steps."""
    last = points[-1]
    if goal.target_recall is not None and to_beat is not None and CLEARLY * last.queries_per_s < to_beat.queries_per_s:
        return True
    return len(points) > PLATEAU_STEPS and last.recall - points[-1 - PLATEAU_STEPS].recall <= PLATEAU


def _is_settled(goal: Goal, point: Measurement) -> bool:
    return goal.target_recall is not None and 0 <= point.recall - goal.target_recall <= CLOSE_ENOUGH


def _verdict(goal: Goal, trial: Trial) -> str:
    if trial.best(goal) is not None:
        return "serves the goal"
    in_time = [point.recall for point in trial.points if not goal.is_too_slow(point)]
    if not in_time:
        return "too slow"
    return f"recall {max(in_time):.3f} at best" + (" in time" if len(in_time) < len(trial.points) else "")
