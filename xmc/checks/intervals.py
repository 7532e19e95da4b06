"""Intervals of calibration figures by drawing whole queries again.

Shapes: Q queries, B bins, M figures, S bootstrap samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xmc.check_contract import CheckFigure

Array = np.ndarray[Any, Any]
TAIL = 0.025
CHUNK_WEIGHTS = 4_000_000  # query weights held at once, 32 MB


def query_weights(queries: int, *, samples: int, seed: int) -> Iterator[Array]:
    """How often each query is drawn in each bootstrap sample, in chunks (s, Q); rows sum to Q.

    >>> [weights_SQ.sum(axis=1).tolist() for weights_SQ in query_weights(3, samples=2, seed=0)]
    [[3.0, 3.0]]
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_WEIGHTS // max(1, queries))
    for start in range(0, samples, chunk):
        rows = min(chunk, samples - start)
        drawn = generator.integers(queries, size=(rows, queries)) + np.arange(rows)[:, None] * queries
        yield np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries).astype(np.float64)


def mean_figures(means_QM: Array, *, samples: int, seed: int) -> list[CheckFigure]:
    """The mean of each column over the queries, with its percentile interval; without one when `samples` is 0.

    Reference: Efron and Tibshirani 1993, chapter 13.
    """
    values = means_QM.mean(axis=0).tolist()
    if samples == 0:
        return [CheckFigure(value) for value in values]
    weights = query_weights(len(means_QM), samples=samples, seed=seed)
    drawn_SM = np.concatenate([weights_SQ @ means_QM / len(means_QM) for weights_SQ in weights])
    return [
        _around(*row) for row in zip(values, *np.quantile(drawn_SM, [TAIL, 1 - TAIL], axis=0).tolist(), strict=True)
    ]


def ece_figures(
    values: Sequence[float], gaps: Sequence[Array], counts_Q: Array, *, samples: int, seed: int
) -> list[CheckFigure]:
    """Calibration errors with intervals; `gaps` are each one's sums of probability - hit by query and bin, (Q, B).

    An ECE is biased upwards, and in its resamples as much again, so the interval is the basic one,
    [2 ECE - q97.5, 2 ECE - q2.5]. The bins stay those of the whole.

    Reference: Davison and Hinkley 1997, section 5.2.
    """
    if samples == 0 or not values:
        return [CheckFigure(value) for value in values]
    ends = np.cumsum([0, *(gaps_QB.shape[1] for gaps_QB in gaps)])
    everything = np.concatenate([*gaps, counts_Q[:, None].astype(np.float64)], axis=1)
    drawn = []
    for weights_SQ in query_weights(len(counts_Q), samples=samples, seed=seed):
        sums = weights_SQ @ everything
        sizes = np.abs(sums[:, :-1]) / np.maximum(sums[:, -1:], 1)
        drawn.append(np.stack([sizes[:, a:b].sum(axis=1) for a, b in itertools.pairwise(ends.tolist())], axis=1))
    near_M, far_M = np.quantile(np.concatenate(drawn), [TAIL, 1 - TAIL], axis=0).tolist()
    return [
        _around(value, max(0.0, 2 * value - far), 2 * value - near)
        for value, near, far in zip(values, near_M, far_M, strict=True)
    ]


def _around(value: float, low: float, high: float) -> CheckFigure:
    """The figure with ends that enclose it."""
    return CheckFigure(value, min(value, low), max(value, high))
