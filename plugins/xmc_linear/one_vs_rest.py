"""One linear classifier for each label, over a shortlist of negatives, on all cores, with pruned weights.

Shapes: N queries (rows of features), F features, L labels.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse

from xmc.api import require_at_least, require_at_most, require_positive
from xmc_linear.blocks import Blocks, Problem, side_by_side
from xmc_linear.matrices import FloatArray, IntArray
from xmc_linear.newton import Solution, logistic, minimise, squared_hinge

LABELS_AT_ONCE = 256  # told as progress together
NUMBERS_AT_ONCE = 1 << 17  # of the rows of labels that Newton's method solves together: what stays in a cache
LOSSES = ("squared-hinge", "logistic")
_RANDOM = threading.Lock()  # liblinear's random numbers, which each fit starts anew, are the process's


@dataclass(frozen=True)
class SolverOptions:
    """How one classifier is fitted: ½ |w|² + cost · Σ over its rows i of weight_i · loss(y_i · w·x_i), y = ±1.

    A positive weighs `positive_weight`: above 1, rare labels score higher, which later ranks gain from.
    `loss`: `squared-hinge`, max(0, 1 − m)², or `logistic`, ln(1 + exp(−m)). `newton` solves many labels at once and
    ends when the gradient is `tolerance` times that at w = 0 (less for few positives), or after `iterations`. A weight
    of absolute value below `prune` is dropped afterwards. `dual` is liblinear's dual coordinate descent, for the
    squared hinge: a few passes over the rows are enough, but it draws from one random generator of the whole process,
    so that labels are then solved one after the other, on one core.
    References: Lin, Weng and Keerthi 2008, Trust Region Newton Method for Logistic Regression, section 4 and 6; Hsieh
    et al. 2008, A Dual Coordinate Descent Method for Large-scale Linear SVM.
    """

    loss: Literal["squared-hinge", "logistic"] = "squared-hinge"
    cost: float = 1.0
    positive_weight: float = 4.0
    tolerance: float = 0.03
    iterations: int = 30
    prune: float = 0.05
    solver: Literal["newton", "dual"] = "newton"

    def __post_init__(self) -> None:
        if self.solver == "dual" and self.loss != "squared-hinge":
            raise ValueError(f"solver 'dual' is for the loss squared-hinge, got {self.loss!r}: set solver = 'newton'")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        require_positive(self, "cost", "positive_weight", "tolerance")
        require_at_least(1, self, "iterations")
        require_at_most(1_000_000, self, "iterations")
        require_at_least(0, self, "prune")


class Fitted(NamedTuple):
    """One classifier: features with a kept weight, ascending; their weights; the negatives that hold it in place."""

    features: IntArray
    weights: np.ndarray[Any, Any]
    support: IntArray


_NOTHING = Fitted(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64))


def fit_labels(
    features_NF: Any,
    row_weights_N: FloatArray,
    problem: Callable[[int], Problem],
    *,
    labels: int,
    options: SolverOptions,
    threads: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Fitted]:
    """A classifier for each label; an empty one where there are no positives, no negatives or no features in either.

    Each label is solved by itself, so the answer is the same for any number of threads.
    Memory: beside `features_NF` (float64 CSR), each thread holds the rows of some labels twice.
    """
    threads = threads if options.solver == "newton" else 1  # others would wait for one another, and work more for it
    lengths_N = np.diff(features_NF.indptr)
    labels_at_once = max(1, min(LABELS_AT_ONCE, labels // (4 * threads)))
    numbers_at_once = NUMBERS_AT_ONCE if options.solver == "newton" else 1

    def fitted(first: int) -> list[Fitted]:
        problems = [problem(label) for label in range(first, min(first + labels_at_once, labels))]
        found = [_NOTHING] * len(problems)
        numbers_B = np.array([sum(int(lengths_N[rows].sum()) for rows in each) for each in problems])
        solvable = np.flatnonzero(np.array([min(map(len, each)) > 0 for each in problems]) & (numbers_B > 0))
        parts = np.flatnonzero(np.diff(np.cumsum(numbers_B[solvable]) // numbers_at_once)) + 1
        for places in np.split(solvable, parts) if len(solvable) else ():
            solved = _fit_together(features_NF, row_weights_N, [problems[place] for place in places], options)
            for place, one in zip(places, solved, strict=True):
                found[place] = one
        if on_progress:
            on_progress(len(problems))
        return found

    with _without_convergence_warnings(), ThreadPoolExecutor(threads) as pool:
        return [one for found in pool.map(fitted, range(0, labels, labels_at_once)) for one in found]


def _fit_together(
    features_NF: Any, row_weights_N: FloatArray, problems: Sequence[Problem], options: SolverOptions
) -> list[Fitted]:
    """The classifiers of labels that have positives and negatives.

    Support: negatives of margin below 1 under the squared hinge, of p > ½ % else.
    """
    blocks = side_by_side(features_NF, problems)
    rows_N = np.concatenate([rows for problem in problems for rows in problem])
    own_weights_N = np.where(blocks.signs_N > 0, options.positive_weight, 1.0) * row_weights_N[rows_N]
    weights_U, scores_N = _solve(blocks, options.cost * own_weights_N, options)
    least = -1.0 if options.loss == "squared-hinge" else math.log(0.005 / 0.995)
    is_support_N = (blocks.signs_N < 0) & (scores_N > least)
    is_kept_U = np.abs(weights_U) >= max(options.prune, float(np.finfo(np.float32).tiny))
    found = []
    for (start, end), (first, last) in zip(pairwise(blocks.feature_ends), pairwise(blocks.row_ends), strict=True):
        kept, support = start + np.flatnonzero(is_kept_U[start:end]), first + np.flatnonzero(is_support_N[first:last])
        found.append(Fitted(blocks.features_U[kept], weights_U[kept].astype(np.float32), rows_N[support]))
    return found


def stacked(fitted: list[Fitted], *, features: int) -> Any:
    """The classifiers as one matrix, (L, F) CSR float32."""
    offsets = np.concatenate(([0], np.cumsum([len(one.features) for one in fitted]))).astype(np.int64)
    columns = np.concatenate([np.zeros(0, np.int64), *(one.features for one in fitted)])
    weights = np.concatenate([np.zeros(0, np.float32), *(one.weights for one in fitted)])
    return scipy.sparse.csr_matrix((weights, columns, offsets), shape=(len(fitted), features), dtype=np.float32)


def _solve(blocks: Blocks, costs_N: FloatArray, options: SolverOptions) -> Solution:
    if options.solver == "dual":
        return _solve_dual(blocks, costs_N, options)
    positives_B, negatives_B = (blocks.sum_rows((blocks.signs_N == sign).astype(np.float64)) for sign in (1.0, -1.0))
    return minimise(
        blocks,
        costs_N,
        squared_hinge if options.loss == "squared-hinge" else logistic,
        tolerances_B=options.tolerance * np.minimum(positives_B, negatives_B) / (positives_B + negatives_B),
        most=options.iterations,
    )


def _solve_dual(blocks: Blocks, costs_N: FloatArray, options: SolverOptions) -> Solution:
    """One label."""
    from sklearn import config_context
    from sklearn.svm import LinearSVC

    model = LinearSVC(
        tol=options.tolerance, max_iter=options.iterations, fit_intercept=False, dual=True, random_state=0
    )
    with _RANDOM, config_context(assume_finite=True, skip_parameter_validation=True):  # checked once for all labels
        model.fit(blocks.rows_NU, blocks.signs_N > 0, sample_weight=costs_N)
    weights_U: FloatArray = model.coef_.ravel()
    return Solution(weights_U, blocks.rows_NU @ weights_U)


@contextmanager
def _without_convergence_warnings() -> Iterator[None]:
    """`iterations` is meant to be met. Filters are the whole process', so they are set outside the threads."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
