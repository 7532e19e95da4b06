"""Intervals of the figures by drawing the queries again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.measurement import Measurement

LEVEL = 0.95
_CHUNK_WEIGHTS = 2_000_000  # query weights held at once, 16 MB


def bootstrap_intervals(
    measurement: Measurement, *, samples: int, seed: int, less: Measurement | None = None
) -> NDArray[np.float64]:
    """The 2.5 % and 97.5 % points of each figure over `samples` draws of Q queries with replacement.

    Naive line: `quantile([figure(queries[rng.integers(Q, size=Q)]) for _ in range(samples)], [0.025, 0.975])`. All
    figures see the same draws. It says how far the figure depends on which queries were asked, not on the training.
    With `less`, another measurement of the same queries: the points of the differences `figure - figure of less`, which
    lie closer together than two intervals tell, where the same queries are hard for both.

    Shapes: (2, M). Only for Q > 0 and samples > 0.

    Reference: Efron and Tibshirani 1993, chapter 13 (percentile interval).

    >>> ones_QM = np.ones((4, 1))
    >>> bootstrap_intervals(Measurement(("P@1",), ones_QM, ones_QM), samples=10, seed=0).tolist()
    [[1.0], [1.0]]
    """
    queries = len(measurement.numerators_QM)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_WEIGHTS // queries)
    parts = [
        _resampled(measurement, less, drawn_counts(generator, min(chunk, samples - start), queries).astype(np.float64))
        for start in range(0, samples, chunk)
    ]
    tail = (1.0 - LEVEL) / 2.0
    return np.quantile(np.concatenate(parts), [tail, 1.0 - tail], axis=0)


def drawn_counts(generator: np.random.Generator, samples: int, queries: int) -> NDArray[np.int64]:
    """How often each query is drawn in each sample, (S, Q); rows sum to Q."""
    drawn_SQ = generator.integers(queries, size=(samples, queries)) + np.arange(samples)[:, None] * queries
    return np.bincount(drawn_SQ.ravel(), minlength=samples * queries).reshape(samples, queries)


def _resampled(measurement: Measurement, less: Measurement | None, weights_SQ: NDArray[Any]) -> NDArray[np.float64]:
    values_SM = np.asarray((weights_SQ @ measurement.numerators_QM) / (weights_SQ @ measurement.denominators_QM))
    return values_SM if less is None else values_SM - _resampled(less, None, weights_SQ)
