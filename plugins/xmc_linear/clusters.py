"""Balanced clusters of labels that are relevant to alike queries.

Shapes: N queries, F features, L labels, D random directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc_linear.matrices import FloatMatrix, IntArray, random_directions

DIRECTIONS = 256  # cosines survive the projection with a standard error of 1 / 16
_MOST_ROUNDS = 20


def label_directions(features_NF: Any, relevance_NL: Any, *, seed: int) -> FloatMatrix:
    """The mean of each label's positives (its PIFA vector), randomly projected and of length 1, (L, D) float32.

    A label without positives has a zero row. Costs N · D numbers beside the answer.
    Reference: Prabhu et al. 2018, Parabel, section 3 (label representation); Johnson and Lindenstrauss 1984.
    """
    means_LD = relevance_NL.T.tocsr() @ random_directions(features_NF, dimension=DIRECTIONS, seed=seed)
    norms_L = np.sqrt((means_LD.astype(np.float64) ** 2).sum(axis=1))
    unit_LD: FloatMatrix = (means_LD / np.where(norms_L > 0, norms_L, 1.0)[:, None]).astype(np.float32)
    return unit_LD


def balanced_clusters(vectors_ND: FloatMatrix, *, most: int, seed: int) -> IntArray:
    """A cluster number for each row, by halving with balanced 2-means until no cluster has more than `most` rows.

    Clusters of one level differ by at most one row in size; their numbers are in the order of the tree.
    Reference: Prabhu et al. 2018, Parabel, section 3 (balanced spherical 2-means).

    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]], np.float32)
    >>> clusters = balanced_clusters(vectors, most=2, seed=0)
    >>> bool(clusters[0] == clusters[2] != clusters[1] == clusters[3])
    True
    """
    generator = np.random.default_rng(seed)
    parts = [np.arange(len(vectors_ND))]
    while max(len(part) for part in parts) > most:
        parts = [half for part in parts for half in _halves(vectors_ND, part, generator)]
    clusters_N = np.zeros(len(vectors_ND), np.int64)
    for number, part in enumerate(parts):
        clusters_N[part] = number
    return clusters_N


def _halves(vectors_ND: FloatMatrix, rows: IntArray, generator: np.random.Generator) -> list[IntArray]:
    """Two halves of the rows, each near its own centre."""
    if len(rows) < 2:
        return [rows]
    members_ND = vectors_ND[rows]
    centres_2D = members_ND[generator.choice(len(rows), 2, replace=False)]
    half = (len(rows) + 1) // 2
    in_first_N = np.zeros(len(rows), bool)
    for _ in range(_MOST_ROUNDS):
        order = np.argsort(-(members_ND @ (centres_2D[0] - centres_2D[1])), kind="stable")
        before_N, in_first_N = in_first_N, np.zeros(len(rows), bool)
        in_first_N[order[:half]] = True
        if (in_first_N == before_N).all():
            break
        sums = [members_ND[chosen].sum(axis=0) for chosen in (in_first_N, ~in_first_N)]
        centres_2D = np.stack([centre / max(float(np.linalg.norm(centre)), 1e-12) for centre in sums])
    return [rows[in_first_N], rows[~in_first_N]]
