"""The fast pass for a single query: few, small steps, for after reading all labels none of their code is in a cache.

Letters: L labels, S labels of one span, N blocks of labels, K wanted, P candidates, D dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Floats = np.ndarray[Any, np.dtype[np.float32]]
Rows = np.ndarray[Any, np.dtype[np.int64]]


def is_one_query(queries_QD: Tensor) -> bool:
    """Whether `candidates_of_one` takes it: one float32 query on a CPU."""
    return (len(queries_QD), queries_QD.dtype, queries_QD.device.type) == (1, torch.float32, "cpu")


def candidates_of_one(
    query_1D: Tensor, labels_LD: Tensor, k: int, *, margin: float, span: int, block: int, allowed: Tensor | None
) -> tuple[Rows, Floats]:
    """Positions (P,) and approximate scores (P,) of all labels within `margin` of the kth best; as in `scan.py`.

    Naive: `scores = labels @ query`, then all that are `>= kth_largest(scores) - margin`.
    `allowed` are the rows that count, None for all; positions count among them. At least k blocks of `block` labels.
    """
    best_K = np.full(k, -np.inf, np.float32)
    parts: list[tuple[Rows, Floats]] = []
    for start in range(0, len(labels_LD if allowed is None else allowed), span):
        rows = slice(start, start + span)
        scores_S = _scores(labels_LD[rows if allowed is None else allowed[rows]], query_1D)
        maxima_N = np.maximum.reduceat(scores_S, np.arange(0, len(scores_S), block))
        best_K = _largest(np.concatenate([best_K, maxima_N]), k)
        kept = np.flatnonzero(scores_S >= best_K[0] - np.float32(margin))
        parts.append((kept + start, scores_S[kept]))
    positions_P, scores_P = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept = scores_P >= _largest(scores_P, k)[0] - np.float32(margin)
    return positions_P[kept], scores_P[kept]


def _scores(labels_SD: Tensor, query_1D: Tensor) -> Floats:
    """On one thread numpy's einsum reads the labels faster than a BLAS does; it knows no more threads than one.

    On several a product with two columns is twice as fast as the matrix-vector kernel that one column would go to.
    """
    if torch.get_num_threads() == 1:
        return np.einsum("sd,d->s", labels_SD.numpy(), query_1D[0].numpy())
    return np.ascontiguousarray(torch.mm(labels_SD, query_1D.repeat(2, 1).T).numpy()[:, 0])


def _largest(values_N: Floats, k: int) -> Floats:
    """The k largest, the smallest of them first."""
    return np.partition(values_N, len(values_N) - k)[len(values_N) - k :]
