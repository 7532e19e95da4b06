"""Try every candidate, keep the one that serves the goal best, and judge it on queries that did not choose it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor

from xmc.index_contract import Index, IndexBackend
from xmc.tune.candidates import Candidate
from xmc.tune.goal import Goal
from xmc.tune.label_vectors import LabelVectors
from xmc.tune.measurement import Measurement
from xmc.tune.notes import notes_of
from xmc.tune.reference import exact_reference
from xmc.tune.ruler import Clock, Ruler
from xmc.tune.screening import screen
from xmc.tune.trial import CLEARLY, Bench, Trial, measure, try_candidate
from xmc.tune.unreachable import unreachable

ALIKE = 1.1  # a smaller factor of speed is no reason to take the larger index
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TuningQueries:
    """Index queries that choose and others that judge, (Q, E) each; `source` says which, in words."""

    choosing_QE: Tensor
    judging_QE: Tensor
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The chosen setting, as measured when choosing and as judged, beside everything that was tried."""

    goal: Goal
    trial: Trial
    chosen: Measurement
    judged: Measurement
    trials: tuple[Trial, ...]
    sample_trials: tuple[Trial, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def backend(self) -> IndexBackend:
        """The backend whose options search as chosen."""
        backend: Any = self.trial.candidate.backend
        return cast("IndexBackend", replace(backend, **self.chosen.search_options))

    @property
    def index(self) -> Index:
        """The built index, searched as chosen."""
        return self.trial.searched_with(self.chosen.search_options)

    @property
    def exact(self) -> Measurement | None:
        """What exact search takes; None where it was not built."""
        points = [point for trial in self.trials if trial.candidate.exact for point in trial.points]
        return max(points, key=lambda point: point.queries_per_s, default=None)

    @property
    def points(self) -> list[Measurement]:
        """Everything measured, those of a sample first, the judgement last."""
        trials = (*self.sample_trials, *self.trials)
        return [*(point for trial in trials for point in trial.points), self.judged]


def choose_index(
    goal: Goal,
    candidates: Sequence[Candidate],
    labels: LabelVectors,
    queries: TuningQueries,
    *,
    device: str = "auto",
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
    clock: Clock | None = None,
    sample: int | None = None,
) -> Choice:
    """Build each candidate on all labels, find its best setting, keep the one that serves the goal best.

    At most two indexes are held at a time. Above 300,000 labels (or where `sample` is given) candidates that cannot do
    it even on a sample of the labels are not built on all. Recall is compared by its mean, which overestimates as often
    as it underestimates: a lower bound would be surer and would overshoot.
    Raises: ConfigError, saying what comes nearest and what would have to give, when no candidate meets the goal.
    """
    timing = {} if clock is None else {"clock": clock}
    progress("exact answers", 0, len(candidates) + 2)
    k, batch_size = min(goal.k, len(labels)), goal.batch_size
    ruler = Ruler(exact_reference(labels, queries.choosing_QE, k), k, batch_size, seed, **timing)
    bench = Bench(goal, labels, ruler, device)
    candidates, sample_trials = screen(bench, candidates, sample=sample, seed=seed)
    trials: list[Trial] = []
    champion: tuple[Trial, Measurement] | None = None
    for place, candidate in enumerate(candidates, start=1):
        progress(f"trying {candidate.name}", place, len(candidates) + 2)
        trial = try_candidate(bench, candidate, to_beat=champion[1] if champion else None)
        trials.append(trial)
        champion = _better(ruler, goal, champion, trial)
        for one in trials:  # what was built and is not the best is let go
            if champion is None or one is not champion[0]:
                one.release()
    if champion is None:
        raise unreachable(goal, [*sample_trials, *trials])
    trial, chosen = champion
    trial.verdict = "chosen"
    progress("judging the choice", len(candidates) + 1, len(candidates) + 2)
    judge = Ruler(exact_reference(labels, queries.judging_QE, k), k, batch_size, seed, **timing)
    judged = measure(replace(bench, ruler=judge, stage="judging"), trial, chosen.search_options)
    notes = (*queries.notes, *notes_of(goal, trial, chosen, judged))
    return Choice(goal, trial, chosen, judged, tuple(trials), tuple(sample_trials), queries.source, notes)


def _better(
    ruler: Ruler, goal: Goal, champion: tuple[Trial, Measurement] | None, trial: Trial
) -> tuple[Trial, Measurement] | None:
    """The champion after a trial; who loses is told to whom, for the winner may be beaten in its turn."""
    best = trial.best(goal)
    if best is None or champion is None:
        return champion if best is None else (trial, best)
    challenger = (trial, best)
    wins, why = _wins(ruler, goal, challenger, champion)
    winner, loser = (challenger, champion) if wins else (champion, challenger)
    loser[0].verdict = why.format(winner[0].candidate)
    return winner


def _wins(
    ruler: Ruler, goal: Goal, challenger: tuple[Trial, Measurement], champion: tuple[Trial, Measurement]
) -> tuple[bool, str]:
    """Whether the challenger is the better one, and what the other one lacks, {} standing for the winner."""
    (trial, best), (old_trial, old) = challenger, champion
    if goal.target_recall is None and best.recall != old.recall:
        return best.recall > old.recall, "a lower recall than {}"
    ratio = best.queries_per_s / old.queries_per_s
    if 1 / CLEARLY < ratio < CLEARLY:
        ratio = ruler.faster(trial.searched_with(best.search_options), old_trial.searched_with(old.search_options))
    if not 1 / ALIKE < ratio < ALIKE:
        return ratio > 1, "slower than {}"
    if trial.candidate.exact != old_trial.candidate.exact:
        return trial.candidate.exact, "as fast as {}, and not exact"
    return best.memory_bytes < old.memory_bytes, "as fast as {}, and no smaller"
