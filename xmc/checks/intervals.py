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
CHUNK_WEIGHTS = 4_000_000  # query weights held at once, 16 MB
MOST_WEIGHTS = 20_000_000  # of all samples together; the interval of so many queries needs fewer samples
FEWEST_SAMPLES = 200


def affordable(samples: int, queries: int) -> int:
    """How many samples are drawn: as many as asked for, fewer (but 200) above 20,000 queries, where they cost seconds.

    >>> affordable(1000, 5000), affordable(1000, 50_000), affordable(100, 10**6)
    (1000, 400, 100)
    """
    return min(samples, max(FEWEST_SAMPLES, MOST_WEIGHTS // max(1, queries)))


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
        yield np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries).astype(np.float32)


def mean_figures(means_QM: Array, *, samples: int, seed: int) -> list[CheckFigure]:
    """The mean of each column over the queries, with its percentile interval; without one when `samples` is 0.

    Reference: Efron and Tibshirani 1993, chapter 13.
    """
    values = means_QM.mean(axis=0).tolist()
    if samples == 0:
        return [CheckFigure(value) for value in values]
    weights = query_weights(len(means_QM), samples=affordable(samples, len(means_QM)), seed=seed)
    drawn_SM = np.concatenate([weights_SQ.astype(np.float64) @ means_QM for weights_SQ in weights]) / len(means_QM)
    return [
        _around(*row) for row in zip(values, *np.quantile(drawn_SM, [TAIL, 1 - TAIL], axis=0).tolist(), strict=True)
    ]


def ece_figures(
    values: Sequence[float], gaps: Sequence[Array], counts: Sequence[Array], *, samples: int, seed: int
) -> list[CheckFigure]:
    """Calibration errors with intervals, all from the same draws.

    `gaps` are each one's sums of probability - hit by query and bin, (Q, B), `counts` its pairs by query, (Q,).

    An ECE is biased upwards, and in its resamples as much again, so the interval is the basic one,
    [2 ECE - q97.5, 2 ECE - q2.5]. That of true probabilities it would miss more often than not, for an ECE cannot be
    below 0: so it begins at 0 unless the ECE is above the 97.5 % point of what chance alone shows, the sums of the
    draws less those of the whole. The bins stay those of the whole.

    Reference: Davison and Hinkley 1997, section 5.2.
    """
    if samples == 0 or not values:
        return [CheckFigure(value) for value in values]
    ends = np.cumsum([0, *(gaps_QB.shape[1] for gaps_QB in gaps)])
    everything = np.concatenate([*gaps, np.stack(counts, axis=1)], axis=1).astype(np.float32)
    whole, drawn, by_chance = everything.sum(axis=0), [], []
    for weights_SQ in query_weights(len(everything), samples=affordable(samples, len(everything)), seed=seed):
        sums = weights_SQ @ everything
        pairs = np.maximum(sums[:, ends[-1] :], 1)
        drawn.append(_sizes(sums, ends) / pairs)
        by_chance.append(_sizes(sums - whole, ends) / pairs)
    near_M, far_M = np.quantile(np.concatenate(drawn), [TAIL, 1 - TAIL], axis=0).tolist()
    chance_M = np.quantile(np.concatenate(by_chance), 1 - TAIL, axis=0).tolist()
    return [
        _around(value, max(0.0, 2 * value - far) if value > chance else 0.0, 2 * value - near)
        for value, near, far, chance in zip(values, near_M, far_M, chance_M, strict=True)
    ]


def _sizes(sums_SX: Array, ends: Array) -> Array:
    """The sum over the bins of the absolute gap, for each figure, (S, M)."""
    parts = [np.abs(sums_SX[:, a:b]).sum(axis=1) for a, b in itertools.pairwise(ends.tolist())]
    return np.stack(parts, axis=1)


def _around(value: float, low: float, high: float) -> CheckFigure:
    """The figure with ends that enclose it."""
    return CheckFigure(value, min(value, low), max(value, high))
