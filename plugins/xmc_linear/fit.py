"""Train a linear one-vs-rest model: shortlists, summaries of all other queries, rounds of mined negatives.

Shapes: N queries, F features, L labels, S summaries, P (query, positive) pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse

from xmc.api import DataError, Hits, Positives, counted, require_at_least, require_at_most
from xmc_linear.blocks import Problem
from xmc_linear.matrices import FloatArray, IntArray, ragged, relevance_matrix
from xmc_linear.one_vs_rest import Fitted, SolverOptions, fit_labels, stacked
from xmc_linear.scoring import best_labels
from xmc_linear.shortlists import listed, matched_shortlist, negatives, of_rows
from xmc_linear.summaries import Summaries, summarise

_ROUGH_TOLERANCE = 0.1


@dataclass(frozen=True)
class OneVsRestOptions:
    """How negatives are found for each label's classifier.

    The first shortlist is that of clusters of at most `cluster_size` labels, or a given one. Then come `rounds` of
    mining: of each query the `mined` best labels of the model so far join the negatives that still hold it in place.
    `summaries` mean vectors of `summary_features` entries stand for the queries that are on no shortlist; each weighs
    `summary_weight` for each query in it, and is left out for labels that more than `summary_share` of these have.
    """

    solver: SolverOptions = field(default_factory=SolverOptions)
    cluster_size: int = 16
    rounds: int = 2
    mined: int = 20
    summaries: int = 128
    summary_features: int = 400
    summary_weight: float = 0.5
    summary_share: float = 0.02

    def __post_init__(self) -> None:
        require_at_least(1, self, "cluster_size", "mined", "summary_features")
        require_at_most(100, self, "rounds")
        require_at_least(0, self, "rounds", "summaries", "summary_weight", "summary_share")


def fit_one_vs_rest(
    features_NF: Any,
    positives: Positives,
    *,
    labels: int,
    options: OneVsRestOptions,
    shortlist: Positives | Hits | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Any:
    """Weights (L, F), float32 CSR, so that `features @ weights.T` ranks labels; a label without positives has none.

    A feature that is 1 for every query makes a bias of its weight. `shortlist` gives each query label rows, such as the
    hits of another model, in place of the clusters. `progress` hears how many classifiers are fitted, of L · (1 +
    rounds) in all. The answer is the same for any number of threads.
    Memory: the features in float64, F · 64 · 4 bytes and the rows of one label twice for each thread, N · 256 · 4
    bytes while labels are put into clusters, 12 bytes for each (query, shortlisted label) pair.
    Raises: DataError when features, positives and shortlist are of different queries, or a feature is not finite.
    """
    queries = features_NF.shape[0]
    if len(positives) != queries or (shortlist is not None and len(shortlist) != queries):
        raise DataError(
            f"{counted(queries, 'row of features', 'rows of features')}, positives of "
            f"{counted(len(positives), 'query')}"
            + (f", a shortlist of {len(shortlist):,}." if shortlist is not None else ".")
        )
    if len(places := np.flatnonzero(~np.isfinite(features_NF.data))):
        row = int(np.searchsorted(features_NF.indptr, places[0], side="right")) - 1
        value = features_NF.data[places[0]]
        raise DataError(f"a feature of query {row} (counted from 0) is {value}; all must be finite.")
    relevance_NL = relevance_matrix(positives, labels=labels)
    if shortlist is None:
        first_NL = matched_shortlist(features_NF, relevance_NL, cluster_size=options.cluster_size, seed=seed)
    else:
        first_NL = relevance_matrix(shortlist, labels=labels)
    rows = _Rows.of(features_NF, relevance_NL, options, seed=seed)
    numbers, total = itertools.count(1), labels * (1 + options.rounds)  # a count loses none of several threads

    def tell(fitted_now: int) -> None:
        for _ in range(fitted_now):
            progress(next(numbers), total)

    negatives_NL = negatives(first_NL, relevance_NL)
    for number in range(options.rounds + 1):
        solver = options.solver
        if number < options.rounds:  # only the last round's weights are kept: the others need not be exact
            solver = replace(solver, tolerance=max(solver.tolerance, _ROUGH_TOLERANCE))
        problem = rows.problems(negatives_NL)
        fitted = fit_labels(
            rows.features_RF,
            rows.weights_R,
            problem,
            labels=labels,
            options=solver,
            threads=threads,
            on_progress=tell,
        )
        weights_LF = stacked(fitted, features=features_NF.shape[1])
        if number < options.rounds:
            found_NK = best_labels(features_NF, weights_LF, k=options.mined, threads=threads)
            kept_NL = of_rows(_support(fitted, queries), queries=queries)
            negatives_NL = negatives(listed(found_NK, labels=labels) + kept_NL, relevance_NL)
    return weights_LF


def _support(fitted: list[Fitted], queries: int) -> list[IntArray]:
    """The queries, not the summaries, among the negatives that hold a classifier in place."""
    return [one.support[one.support < queries] for one in fitted]


@dataclass(frozen=True, eq=False)
class _Rows:
    """All training rows R: the queries, then the summaries, with their weights."""

    features_RF: Any
    weights_R: FloatArray
    offsets_L: IntArray
    positive_rows_P: IntArray
    summaries: Summaries | None
    options: OneVsRestOptions

    @classmethod
    def of(cls, features_NF: Any, relevance_NL: Any, options: OneVsRestOptions, *, seed: int) -> _Rows:
        parts, weights, summaries = [features_NF.astype(np.float64)], [np.ones(features_NF.shape[0])], None
        if options.summaries and features_NF.shape[0]:
            summaries = summarise(features_NF, count=options.summaries, features=options.summary_features, seed=seed)
            parts.append(summaries.means_SF.astype(np.float64))
            weights.append(options.summary_weight * summaries.counts_S)
        features_RF = scipy.sparse.vstack(parts, format="csr")
        return cls(features_RF, np.concatenate(weights), *ragged(relevance_NL), summaries, options)

    def problems(self, negatives_NL: Any) -> Callable[[int], Problem]:
        """The training rows of each label under these negatives."""
        offsets_L, negative_rows = ragged(negatives_NL)

        def problem(label: int) -> Problem:
            positive_rows = self.positive_rows_P[self.offsets_L[label] : self.offsets_L[label + 1]]
            chosen = negative_rows[offsets_L[label] : offsets_L[label + 1]]
            return Problem(positive_rows, np.concatenate([chosen, self._summary_rows(positive_rows)]))

        return problem

    def _summary_rows(self, positive_rows: IntArray) -> IntArray:
        """The rows of the summaries that have next to none of these positives."""
        if self.summaries is None:
            return np.zeros(0, np.int64)
        counts_S = self.summaries.counts_S
        inside_S = np.bincount(self.summaries.summary_N[positive_rows], minlength=len(counts_S))
        chosen = np.flatnonzero(inside_S <= self.options.summary_share * counts_S)
        return chosen + (self.features_RF.shape[0] - len(counts_S))
