"""Propensity-scored precision and nDCG: a rare label counts more, since it is more often missing from the truth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xmc.errors import ConfigError, DataError
from xmc.evaluate.ndcg import discounted_gain, ideal_discount
from xmc.evaluate.relevance import check_cutoff

MIN_TRAIN_QUERIES = 3  # below, ln N - 1 is negative: the weights would fall under 1 and a rare label would count less


class RatioOfSums(NamedTuple):
    """A figure of the whole data set: sum of the numerators over sum of the denominators, both (Q,)."""

    numerator_Q: NDArray[Any]
    denominator_Q: NDArray[Any]

    @property
    def value(self) -> float:
        """The ratio; the denominators must not all be 0."""
        return float(self.numerator_Q.sum() / self.denominator_Q.sum())


def propensity_constant(train_queries: int, *, a: float, b: float) -> float:
    """C = (ln N - 1) (B + 1)^A of the propensity model, N the number of training queries.

    Raises: DataError when N < 3; ConfigError when A < 0, B <= 0 or C is too large.
    """
    if train_queries < MIN_TRAIN_QUERIES:
        raise DataError(f"propensities need at least {MIN_TRAIN_QUERIES} training queries, got {train_queries:,}.")
    if not (0 <= a < np.inf and 0 < b < np.inf):
        raise ConfigError(f"propensity constants must be A >= 0 and B > 0, got A = {a} and B = {b}.")
    try:
        return float((np.log(train_queries) - 1.0) * (b + 1.0) ** a)
    except OverflowError as error:
        raise ConfigError(f"propensity constants must have a finite (B + 1)^A, got A = {a} and B = {b}.") from error


def inverse_propensities(
    train_counts_L: NDArray[Any], train_queries: int, *, a: float = 0.55, b: float = 1.5
) -> NDArray[np.float64]:
    """The weight 1 / p_l = 1 + C (n_l + B)^-A of each label, n_l the training queries it is a positive of.

    A and B belong to the data set; 0.55 and 1.5 are the paper's for data sets of no special kind.

    Shapes: `train_counts_L` (L,); answers (L,), every weight >= 1.

    Raises: DataError when there are fewer than 3 training queries; ConfigError when A < 0 or B <= 0.

    Reference: Jain, Prabhu, Varma 2016, Extreme multi-label loss functions.

    >>> inverse_propensities(np.array([0, 1, 100]), 1000).round(3).tolist()
    [8.824, 6.908, 1.77]
    """
    constant = propensity_constant(train_queries, a=a, b=b)
    return np.asarray(1.0 + constant * (np.asarray(train_counts_L) + b) ** -a, dtype=np.float64)


def psp_at_k(gains_QK: NDArray[Any], ideal_gains_QK: NDArray[Any], k: int) -> RatioOfSums:
    """PSP@k: `sum over queries of 1/k sum over relevant ranks r <= k of 1/p`, divided by the best attainable such sum.

    The best attainable ranks the positives of each query by 1/p. Both sums run over the data set before the division,
    as the scripts of the Extreme Classification Repository do; the mean of per-query ratios is another number.

    Shapes: `gains_QK` (Q, K), 1/p of a relevant hit and 0 of any other; `ideal_gains_QK` from
    `relevance.ideal_at_ranks`; answers two (Q,).

    Raises: ConfigError when k < 1.

    Reference: Jain, Prabhu, Varma 2016.

    >>> psp_at_k(np.array([[0.0, 2.0], [4.0, 0.0]]), np.array([[2.0, 0.0], [6.0, 4.0]]), 1).value
    0.5
    """
    check_cutoff(k)
    return RatioOfSums(_sum(gains_QK[:, :k]) / k, _sum(ideal_gains_QK[:, :k]) / k)


def psndcg_at_k(
    gains_QK: NDArray[Any], ideal_gains_QK: NDArray[Any], positive_counts_Q: NDArray[Any], k: int
) -> RatioOfSums:
    """PSnDCG@k: as PSP@k, each gain divided by log2(rank + 1) and each query by its ideal binary DCG@k.

    `numerator_q = sum over relevant r <= k of 1 / (p log2(r + 1)) / sum over r <= min(k, positives) of 1 / log2(r + 1)`
    and `denominator_q` the same of the best attainable ranking. Queries without positives add 0 to both.

    Shapes: as `psp_at_k`, `positive_counts_Q` (Q,).

    Raises: ConfigError when k < 1.

    Reference: Jain, Prabhu, Varma 2016.

    >>> psndcg_at_k(np.array([[2.0]]), np.array([[4.0]]), np.array([1]), 1).value
    0.5
    """
    binary_Q = ideal_discount(positive_counts_Q, k)
    divisor_Q = np.where(binary_Q > 0, binary_Q, 1.0)
    return RatioOfSums(discounted_gain(gains_QK, k) / divisor_Q, discounted_gain(ideal_gains_QK, k) / divisor_Q)


def _sum(gains_QK: NDArray[Any]) -> NDArray[Any]:
    return gains_QK.sum(axis=1, dtype=np.float64)
