"""One linear classifier for each label, over a shortlist of negatives, on all cores, with pruned weights.

Shapes: N queries (rows of features), F features, L labels.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse

from xmc_linear.matrices import FloatArray, IntArray, on_own_features

LOSSES = ("squared-hinge", "logistic")
_RANDOM = threading.Lock()  # liblinear's random numbers, which each fit starts anew, are the process's


@dataclass(frozen=True)
class SolverOptions:
    """How one classifier is fitted: ½ |w|² + cost · Σ over its rows i of weight_i · loss(y_i · w·x_i), y = ±1.

    A positive weighs `positive_weight`: above 1, rare labels score higher, which later ranks gain from.
    `loss`: `squared-hinge`, max(0, 1 − m)², or `logistic`, ln(1 + exp(−m)). liblinear's trust region Newton method ends
    when the gradient is `tolerance` times that at w = 0 (less for few positives), or after `iterations`. A weight of
    absolute value below `prune` is dropped afterwards. `solver` `dual` is liblinear's dual coordinate descent, for the
    squared hinge: a few passes over the rows are enough and cost half as much, but it draws from one random generator
    of the whole process, so that labels are then solved one after the other, on one core.
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
        for name in ("cost", "positive_weight", "tolerance"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number > 0, got {getattr(self, name)}")
        if self.iterations < 1 or not 0 <= self.prune < math.inf:
            raise ValueError(f"iterations must be >= 1 and prune >= 0, got {self.iterations} and {self.prune}")


class Problem(NamedTuple):
    """The training rows of one label: positives and negatives, disjoint."""

    positive_rows: IntArray
    negative_rows: IntArray


class Fitted(NamedTuple):
    """One classifier: features with a kept weight, ascending; their weights; the negatives that hold it in place."""

    features: IntArray
    weights: np.ndarray[Any, Any]
    support: IntArray


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
    """A classifier for each label; an empty one where there are no positives or no negatives.

    Each label is solved by itself, so the answer is the same for any number of threads.
    Memory: beside `features_NF` (float64 CSR), each thread holds the rows of one label twice.
    """

    def fitted(label: int) -> Fitted:
        found = fit_one(features_NF, row_weights_N, problem(label), options=options)
        if on_progress:
            on_progress(1)
        return found

    with _without_convergence_warnings(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(fitted, range(labels)))


def fit_one(features_NF: Any, row_weights_N: FloatArray, problem: Problem, *, options: SolverOptions) -> Fitted:
    """The classifier of one label. Support: negatives of margin below 1 under the squared hinge, of p > ½ % else."""
    positives, negatives = problem
    if not len(positives) or not len(negatives):
        return Fitted(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64))
    rows = np.concatenate([positives, negatives])
    own_NF, own = on_own_features(features_NF[rows])
    relevant_N = np.arange(len(rows)) < len(positives)
    own_weights_N = np.where(relevant_N, options.positive_weight, 1.0) * row_weights_N[rows]
    weights = _solve(own_NF, relevant_N, own_weights_N, options)
    scores_N = (own_NF @ weights)[len(positives) :]
    least = -1.0 if options.loss == "squared-hinge" else math.log(0.005 / 0.995)
    kept = np.abs(weights) >= max(options.prune, float(np.finfo(np.float32).tiny))
    return Fitted(own[kept], weights[kept].astype(np.float32), negatives[scores_N > least])


def stacked(fitted: list[Fitted], *, features: int) -> Any:
    """The classifiers as one matrix, (L, F) CSR float32."""
    offsets = np.concatenate(([0], np.cumsum([len(one.features) for one in fitted]))).astype(np.int64)
    columns = np.concatenate([np.zeros(0, np.int64), *(one.features for one in fitted)])
    weights = np.concatenate([np.zeros(0, np.float32), *(one.weights for one in fitted)])
    return scipy.sparse.csr_matrix((weights, columns, offsets), shape=(len(fitted), features), dtype=np.float32)


def _solve(
    own_NF: Any, relevant_N: np.ndarray[Any, Any], row_weights_N: FloatArray, options: SolverOptions
) -> FloatArray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    shared: dict[str, Any] = {
        "C": options.cost,
        "tol": options.tolerance,
        "max_iter": options.iterations,
        "fit_intercept": False,
        "dual": options.solver == "dual",
        "random_state": 0,
    }
    squared = options.loss == "squared-hinge"
    model = LinearSVC(**shared) if squared else LogisticRegression(solver="liblinear", **shared)
    with _RANDOM if options.solver == "dual" else nullcontext():
        weights: FloatArray = model.fit(own_NF, relevant_N, sample_weight=row_weights_N).coef_.ravel()
    return weights


@contextmanager
def _without_convergence_warnings() -> Iterator[None]:
    """`iterations` is meant to be met. Filters are the whole process', so they are set outside the threads."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
