"""Stand-ins for the queries that are on no shortlist: mean vectors of clusters of queries, each with their weight.

A classifier that only sees hard negatives knows nothing of all the others and scores them too high. A few means, each
as heavy as (a part of) its members, hold it down at the cost of a few rows. By Jensen's inequality the loss of a mean
is at most the mean of its members' losses, so this never asks for more than the members would.
Shapes: N queries, F features, S summaries, D random directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from xmc_linear.matrices import FloatArray, IntArray, largest_of_rows, random_directions

_ROUNDS = 8


class Summaries(NamedTuple):
    """Mean vectors (S, F) CSR, how many queries each stands for (S,), and which summary each query is in (N,)."""

    means_SF: Any
    counts_S: FloatArray
    summary_N: IntArray


def summarise(features_NF: Any, *, count: int, features: int, seed: int) -> Summaries:
    """Spherical k-means of randomly projected queries, each mean cut to its largest `features` entries.

    Fewer than `count` when there are fewer queries. Memory: N · 64 numbers.
    """
    rows = features_NF.shape[0]
    count = min(count, rows)
    generator = np.random.default_rng(seed)
    directions_ND = random_directions(features_NF, dimension=64, seed=seed)
    directions_ND = _unit(directions_ND - directions_ND.mean(axis=0))
    centres_SD = directions_ND[generator.choice(rows, count, replace=False)]
    for _ in range(_ROUNDS):
        summary_N = (directions_ND @ centres_SD.T).argmax(axis=1)
        centres_SD = _unit(_members(summary_N, count) @ directions_ND)
    counts_S = np.bincount(summary_N, minlength=count).astype(np.float64)
    used = counts_S > 0
    summary_N = (np.cumsum(used) - 1)[summary_N]
    counts_S = counts_S[used]
    members_SN = _members(summary_N, len(counts_S))
    members_SN.data /= counts_S[members_SN.tocoo().row].astype(np.float32)
    means_SF = largest_of_rows((members_SN @ features_NF).tocsr(), features)
    return Summaries(means_SF, counts_S, summary_N)


def _members(summary_N: IntArray, count: int) -> Any:
    ones = np.ones(len(summary_N), np.float32)
    return scipy.sparse.csr_matrix((ones, (summary_N, np.arange(len(summary_N)))), shape=(count, len(summary_N)))


def _unit(vectors_ND: Any) -> Any:
    norms_N = np.sqrt((vectors_ND.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (vectors_ND / np.where(norms_N > 0, norms_N, 1.0)).astype(np.float32)
