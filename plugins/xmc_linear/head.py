"""Linear models as heads: fitted in one go over sparse word features, and handed to the index `sparse`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse

from xmc.api import HeadContext, Positives, cores, require_at_least, require_at_most
from xmc_linear.bags import bag_matrix
from xmc_linear.fit import OneVsRestOptions, fit_one_vs_rest
from xmc_linear.matrices import largest_of_rows, relevance_matrix
from xmc_linear.one_vs_rest import SolverOptions
from xmc_linear.weights import LinearWeights


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier for each label over all labels; see `SolverOptions` and `OneVsRestOptions` for the options.

    The encoder's features must be bags of words, and its vectors those features themselves: `sparse-tfidf`. Of [loss]
    and [train] it uses nothing but the seed. `threads` 0 is as many as there are cores for this process.
    """

    loss: Literal["squared-hinge", "logistic"] = "squared-hinge"
    cost: float = 1.0
    positive_weight: float = 4.0
    tolerance: float = 0.03
    iterations: int = 30
    prune: float = 0.05
    cluster_size: int = 16
    rounds: int = 2
    mined: int = 20
    summaries: int = 128
    summary_weight: float = 0.5
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(0, self, "threads")
        require_at_most(1024, self, "threads")
        self.resolved()

    def resolved(self) -> OneVsRestOptions:
        """The same as the options of `fit_one_vs_rest`.

        Raises: ValueError for an option that cannot work.
        """
        return OneVsRestOptions(
            SolverOptions(self.loss, self.cost, self.positive_weight, self.tolerance, self.iterations, self.prune),
            cluster_size=self.cluster_size,
            rounds=self.rounds,
            mined=self.mined,
            summaries=self.summaries,
            summary_weight=self.summary_weight,
        )

    def build(self, context: HeadContext) -> LinearWeights:
        """Weights of 0, to be loaded or fitted."""
        return empty_weights(context)

    def fit(
        self, context: HeadContext, features: Any, positives: Positives, *, progress: Callable[[int, int], None]
    ) -> LinearWeights:
        """Fit to prepared queries. Raises: ConfigError when their features are no bags."""
        weights_LF = fit_one_vs_rest(
            bag_matrix(features, features=context.dimension),
            positives,
            labels=context.labels,
            options=self.resolved(),
            seed=context.seed,
            threads=self.threads or cores(),
            progress=progress,
        )
        return LinearWeights(weights_LF)


@dataclass(frozen=True)
class Centroids:
    """A label's vector is the mean of its training queries' vectors, of length 1, cut to its largest entries.

    Nothing is solved, so it takes seconds; as a first stage it finds the labels that a reranker then orders.
    `entries`: so many entries of largest absolute value are kept for each label.
    Reference: Prabhu et al. 2018, Parabel, section 3 (label representation).
    """

    entries: int = 500

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "entries")
        require_at_most(1_000_000, self, "entries")

    def build(self, context: HeadContext) -> LinearWeights:
        """Weights of 0, to be loaded or fitted."""
        return empty_weights(context)

    def fit(
        self, context: HeadContext, features: Any, positives: Positives, *, progress: Callable[[int, int], None]
    ) -> LinearWeights:
        """The centroids of prepared queries. Raises: ConfigError when their features are no bags."""
        features_NF = bag_matrix(features, features=context.dimension)
        sums_LF = (relevance_matrix(positives, labels=context.labels).T.tocsr() @ features_NF).tocsr()
        kept_LF = largest_of_rows(sums_LF, self.entries)
        norms_L = np.sqrt(np.asarray(kept_LF.multiply(kept_LF).sum(axis=1)).ravel())
        scale_L = 1.0 / np.where(norms_L > 0, norms_L, 1.0)
        progress(1, 1)
        return LinearWeights(scipy.sparse.csr_matrix(scipy.sparse.diags(scale_L) @ kept_LF, dtype=np.float32))


def empty_weights(context: HeadContext) -> LinearWeights:
    """Weights of 0 for the labels and features of a context."""
    return LinearWeights(scipy.sparse.csr_matrix((context.labels, context.dimension), dtype=np.float32))
