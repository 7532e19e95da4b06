"""With very many labels: what cannot do it on a sample of them is not built on all.

On a sample every label that is there has fewer rivals and there is less to search, so recall is no lower and a query no
slower than on all labels, at the same options. What fails there fails on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xmc.counted import counted
from xmc.tune.candidates import Candidate
from xmc.tune.reference import exact_reference
from xmc.tune.trial import Bench, Trial, try_candidate

ALL_BELOW = 300_000  # labels: up to here everything is built on all of them
SAMPLE = 100_000
QUERIES = 500
MARGIN = 0.01  # of recall, for the fewer queries
FAR_BELOW = 0.05  # of recall, where the best is wanted


def screen(
    bench: Bench, candidates: Sequence[Candidate], *, sample: int | None, seed: int
) -> tuple[list[Candidate], list[Trial]]:
    """The candidates that stay, and the trials on the sample; exact candidates always stay."""
    size = sample or (SAMPLE if len(bench.labels) > ALL_BELOW else 0)
    too_large = bench.goal.is_too_large
    approximate = [one for one in candidates if not one.exact and not too_large(one.estimated_bytes)]
    if not size or size >= len(bench.labels) or len(approximate) < 2:
        return list(candidates), []
    labels = bench.labels.sample(size, seed=seed)
    queries_QE = bench.ruler.reference.queries_QE[:QUERIES]
    ruler = replace(bench.ruler, reference=exact_reference(labels, queries_QE, bench.ruler.k))
    small = replace(bench, labels=labels, ruler=ruler, stage="sample")
    trials = []
    for candidate in approximate:
        trials.append(try_candidate(small, replace(candidate, estimated_bytes=0)))
        trials[-1].release()
    best = max((trial.best_recall for trial in trials), default=0.0)
    dropped = [candidate for candidate, trial in zip(approximate, trials, strict=True) if _fails(bench, trial, best)]
    for candidate, trial in zip(approximate, trials, strict=True):
        said = "not built on all labels" if candidate in dropped else "built on all labels as well"
        trial.verdict = f"on a sample of {counted(size, 'label')}: {trial.verdict}; {said}"
    return [candidate for candidate in candidates if candidate not in dropped], trials


def _fails(bench: Bench, trial: Trial, best: float) -> bool:
    """Whether the sample shows that a candidate cannot serve the goal; memory is judged by the estimate for all."""
    goal = bench.goal
    if not trial.points or goal.is_too_slow(trial.points[0]):
        return True
    limit = best - FAR_BELOW if goal.target_recall is None else goal.target_recall - MARGIN
    return trial.best_recall < limit
