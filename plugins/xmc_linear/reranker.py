"""The linear model as a second stage: one classifier for each label, fitted to the queries that come near it.

Shapes: Q queries, F features, U of them that occur, L labels, G of them at a time, H hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch

from xmc.api import Hits, RerankContext, RerankQueries, cores, require_at_least, require_at_most
from xmc_linear.bags import bag_matrix
from xmc_linear.fit import OneVsRestOptions, fit_one_vs_rest
from xmc_linear.matrices import FloatArray, on_own_features
from xmc_linear.one_vs_rest import SolverOptions
from xmc_linear.tfidf import inverse_frequencies, tfidf_matrix
from xmc_linear.weights import LinearWeights

FILE_NAME = "weights.safetensors"
NUMBERS_AT_ONCE = 1 << 20  # weights and features multiplied at a time


@dataclass(frozen=True)
class LinearReranker:
    """Fits a linear classifier for each label to its positives and to the queries on whose shortlist it stands.

    The features are those of the first stage's encoder, which must be bags of words (`tfidf`, `sparse-tfidf` or
    `static`). `loss` to `solver` as in `SolverOptions`; `threads` 0 is as many as there are cores for this process:
    `newton` uses all of them, `dual` one, for less time in all where texts are long. `inverse_frequency` makes TF-IDF
    vectors of length 1 of them, with a constant: for bags of counts, such as those of `static`. The score is the margin
    w · x; a label that could not be fitted (it had no positives in training, or was on no other shortlist than theirs)
    has the mean margin of the shortlists.

    Raises: ValueError for an option that cannot work.
    Reference: Prabhu et al. 2018 (Parabel) and Yu et al. 2022 (PECOS) for hard negatives; Babbar and Schölkopf 2017
    (DiSMEC) for pruned weights.
    """

    loss: Literal["squared-hinge", "logistic"] = "squared-hinge"
    cost: float = 1.0
    positive_weight: float = 1.0
    tolerance: float = 0.1
    iterations: int = 6
    prune: float = 0.05
    solver: Literal["newton", "dual"] = "dual"
    threads: int = 0
    inverse_frequency: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(0, self, "threads")
        require_at_most(1024, self, "threads")
        self._solver()

    def _solver(self) -> SolverOptions:
        return SolverOptions(
            self.loss, self.cost, self.positive_weight, self.tolerance, self.iterations, self.prune, self.solver
        )

    def fit(self, context: RerankContext, *, progress: Callable[[int, int], None]) -> FittedLinearReranker:
        """One classifier for each label. Raises: ConfigError when the encoder's features are no bags."""
        features_QF, labels = bag_matrix(context.queries.features), len(context.label_texts)
        inverse_F = inverse_frequencies(features_QF) if self.inverse_frequency else None
        features_QF = features_QF if inverse_F is None else tfidf_matrix(features_QF, inverse_F)
        shortlist = context.shortlist
        weights_LF = fit_one_vs_rest(
            features_QF,
            context.positives,
            labels=labels,
            options=OneVsRestOptions(self._solver(), rounds=0, summaries=0),
            shortlist=shortlist,
            seed=context.seed,
            threads=self.threads or cores(),
            progress=progress,
        )
        margins_H = pair_margins(features_QF, weights_LF, shortlist)
        fitted_L = np.diff(weights_LF.indptr) > 0
        known_H = margins_H[fitted_L[shortlist.label_rows]]
        neutral = float(known_H.mean()) if len(known_H) else 0.0
        return FittedLinearReranker(LinearWeights(weights_LF), neutral, inverse_F)

    def load(self, folder: Path) -> FittedLinearReranker:
        """Open what `FittedLinearReranker.save` wrote."""
        from safetensors.torch import load_file

        state = load_file(folder / FILE_NAME)
        neutral = float(state.pop("neutral"))
        inverse_F = state.pop("inverse_frequencies").numpy() if "inverse_frequencies" in state else None
        return FittedLinearReranker(LinearWeights.from_state(state), neutral, inverse_F)


@dataclass(frozen=True, eq=False)
class FittedLinearReranker:
    """The classifiers, the margin that a label without one is given, and the inverse frequencies if they are used."""

    weights: LinearWeights
    neutral: float
    inverse_F: FloatArray | None = None

    def scores(self, queries: RerankQueries, hits: Hits) -> np.ndarray[Any, Any]:
        """The margin of each hit, (H,) float32."""
        weights_LF = self.weights.weights_LF
        if self.inverse_F is None:
            features_QF = bag_matrix(queries.features, features=weights_LF.shape[1])
        else:
            features_QF = tfidf_matrix(bag_matrix(queries.features, features=len(self.inverse_F)), self.inverse_F)
        margins_H = pair_margins(features_QF, weights_LF, hits)
        margins_H[np.diff(weights_LF.indptr)[hits.label_rows] == 0] = self.neutral
        return margins_H

    def save(self, folder: Path) -> None:
        """Write weights, neutral margin and inverse frequencies."""
        from safetensors.torch import save_file

        neutral = torch.tensor(self.neutral, dtype=torch.float64)
        state = {**self.weights.state(), "neutral": neutral}
        if self.inverse_F is not None:
            state["inverse_frequencies"] = torch.from_numpy(self.inverse_F)
        save_file(state, folder / FILE_NAME)


def pair_margins(features_QF: Any, weights_LF: Any, hits: Hits) -> np.ndarray[Any, Any]:
    """w_label · x_query for each hit, (H,) float32; naive: `(features @ weights.T)[query, label]`.

    Hits are taken label by label, some at a time: their labels' weights for the U features that the queries have are
    laid out densely, side by side, and the sparse rows of the queries are multiplied with them. A hit's margin is
    summed over its query's features in their order, whatever else is asked.

    >>> import scipy.sparse
    >>> hits = Hits(np.array([0, 2]), np.array([1, 0]), np.zeros(2, np.float32))
    >>> x, w = scipy.sparse.csr_matrix([[1.0, 2.0]]), scipy.sparse.csr_matrix([[1.0, 0.0], [1.0, 1.0]])
    >>> pair_margins(x, w, hits).tolist()
    [3.0, 1.0]
    """
    features_QU, own = on_own_features(features_QF)
    order = np.argsort(hits.label_rows, kind="stable")
    query_rows_H, label_rows_H = hits.query_rows()[order], hits.label_rows[order]
    margins_H = np.zeros(len(order), np.float32)
    for some in _parts(label_rows_H, np.diff(features_QU.indptr)[query_rows_H], own=len(own)):
        labels, places = np.unique(label_rows_H[some], return_inverse=True)
        weights_GU = weights_LF[labels][:, own].toarray()
        rows_HU = features_QU[query_rows_H[some]]
        columns = rows_HU.indices + np.repeat(places * len(own), np.diff(rows_HU.indptr))
        shape = (len(places), weights_GU.size)
        rows_HG = scipy.sparse.csr_matrix((rows_HU.data, columns, rows_HU.indptr), shape=shape)
        margins_H[order[some]] = rows_HG @ weights_GU.ravel()
    return margins_H


def _parts(label_rows_H: np.ndarray[Any, Any], lengths_H: np.ndarray[Any, Any], *, own: int) -> Iterator[slice]:
    """Slices of the hits, which stand by label, of about `NUMBERS_AT_ONCE` weights and features each."""
    numbers_H = lengths_H.astype(np.int64)
    numbers_H[:1] += own
    numbers_H[1:][label_rows_H[1:] != label_rows_H[:-1]] += own
    np.cumsum(numbers_H, out=numbers_H)
    wanted = np.arange(0, numbers_H[-1] if len(numbers_H) else 0, NUMBERS_AT_ONCE)
    starts = np.unique(np.searchsorted(numbers_H, wanted))
    return (slice(start, stop) for start, stop in pairwise([*starts.tolist(), len(numbers_H)]))
