"""Intervals of calibration figures by drawing whole queries again.

Shapes: Q queries, B bins, M figures, S bootstrap samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xmc.check_contract import CheckFigure
from xmc.evaluate.bootstrap import drawn_counts

Array = np.ndarray[Any, Any]
TAIL = 0.025
SURE = 3.0  # standard deviations that a gap is from 0 where its sign is taken for that of the true one
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
        yield drawn_counts(generator, min(chunk, samples - start), queries).astype(np.float32)


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

    An ECE is the sum of |g| over the bins, of gaps g that chance has moved by n, so it is biased upwards. How far n
    goes is what the draws differ from the whole. Where the sign of a gap is sure, the true one is |g| - sign(g) n;
    elsewhere it is at least |g| - |n|, for a gap that is nothing has its sign from n. So the lower end is below the ECE
    by what these sums reach in 97.5 % of the draws, and 0 where chance alone shows as much as the ECE. The upper end is
    above it by what -sign(g) n reaches. The bins stay those of the whole.

    Reference for the draws: Davison and Hinkley 1997, chapter 2.
    """
    if samples == 0 or not values:
        return [CheckFigure(value) for value in values]
    ends = np.cumsum([0, *(gaps_QB.shape[1] for gaps_QB in gaps)])
    everything = np.concatenate([*gaps, np.stack(counts, axis=1)], axis=1).astype(np.float32)
    weights = query_weights(len(everything), samples=affordable(samples, len(everything)), seed=seed)
    drawn_SX = np.concatenate([weights_SQ @ everything for weights_SQ in weights])
    sums_SX = np.concatenate([everything.sum(axis=0, keepdims=True), drawn_SX])
    figures = []
    for number, (value, (start, stop)) in enumerate(zip(values, itertools.pairwise(ends.tolist()), strict=True)):
        pairs_S = np.maximum(sums_SX[:, ends[-1] + number], 1)
        gaps_SB = sums_SX[:, start:stop] / pairs_S[:, None]
        figures.append(_around(value, *_ends(value, gaps_SB[0], gaps_SB[1:] - gaps_SB[0])))
    return figures


def _ends(value: float, gaps_B: Array, noise_SB: Array) -> tuple[float, float]:
    """The ends of the interval of an ECE; `noise_SB` is what chance does to the gaps."""
    signed_SB = np.where(gaps_B < 0, -1, 1) * noise_SB
    sizes_SB = np.abs(noise_SB)
    sure_B = np.abs(gaps_B) > SURE * noise_SB.std(axis=0)
    below = np.quantile(np.where(sure_B, signed_SB, sizes_SB).sum(axis=1), 1 - TAIL)
    by_chance = np.quantile(sizes_SB.sum(axis=1), 1 - TAIL)
    low = max(0.0, value - float(below)) if value > by_chance else 0.0
    return low, value - float(np.quantile(signed_SB.sum(axis=1), TAIL))


def _around(value: float, low: float, high: float) -> CheckFigure:
    """The figure with ends that enclose it."""
    return CheckFigure(value, min(value, low), max(value, high))
