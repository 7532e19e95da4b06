"""The labels that a sparse linear model ranks highest, for very many queries: the source of hard negatives.

Shapes: N queries, F features, L labels, K results, B queries at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.functional import embedding_bag

QUERIES_AT_ONCE = 64  # one row of the dense block is then four cache lines


def best_labels(features_NF: Any, weights_LF: Any, *, k: int, threads: int) -> np.ndarray[Any, Any]:
    """The k best label rows of each query in float32, in no order, (N, min(k, L)) int64.

    Naive: `argpartition(-(features @ weights.T))`. A label without weights comes last. Queries are taken in blocks
    that are made dense: a row of weights then reads whole rows of the block, several times faster than the product of
    two sparse matrices. Memory: F · 64 · 4 bytes for each thread. The same for any number of threads.
    """
    weights_LF = weights_LF.tocsr()
    parts = (weights_LF.indices, weights_LF.indptr, weights_LF.data)
    ids, offsets, values = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    ids, offsets = ids.long(), offsets.long()
    empty_L = torch.from_numpy(np.diff(weights_LF.indptr) == 0)
    k = min(k, weights_LF.shape[0])

    def found(start: int) -> np.ndarray[Any, Any]:
        torch.set_num_threads(1)
        rows_BF = features_NF[start : start + QUERIES_AT_ONCE]
        block_FB = torch.zeros(features_NF.shape[1], QUERIES_AT_ONCE)
        query_rows = np.repeat(np.arange(rows_BF.shape[0]), np.diff(rows_BF.indptr))
        block_FB[torch.from_numpy(rows_BF.indices).long(), torch.from_numpy(query_rows)] = torch.from_numpy(
            rows_BF.data.astype(np.float32)
        )
        scores_LB = embedding_bag(
            ids, block_FB, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
        )
        scores_LB[empty_L] = -torch.inf
        best_BK: np.ndarray[Any, Any] = scores_LB.T[: rows_BF.shape[0]].topk(k, dim=1, sorted=False).indices.numpy()
        return best_BK

    with _torch_threads_kept(), ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(found, range(0, features_NF.shape[0], QUERIES_AT_ONCE)))
    return np.concatenate([np.zeros((0, k), np.int64), *blocks])


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """The number of torch's threads is global: put back what it was."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
