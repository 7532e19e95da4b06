"""The baseline of several benchmarks: an index searched by faiss's own Python module."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from torch import Tensor


def raw(index: Any, told: Any, k: int, queries_QD: Tensor) -> np.ndarray[Any, Any]:
    """Label rows (Q, k); `told` are the parameters of the search."""
    rows_QK: np.ndarray[Any, Any] = index.search(queries_QD.numpy(), k, params=told)[1]
    return rows_QK


def raw_cosine(index: Any, told: Any, k: int, queries_QD: Tensor) -> np.ndarray[Any, Any]:
    """`raw` for the cosine, as faiss has it: inner products of a copy of the queries, divided by their norms."""
    units_QD = queries_QD.numpy().copy()
    faiss.normalize_L2(units_QD)
    rows_QK: np.ndarray[Any, Any] = index.search(units_QD, k, params=told)[1]
    return rows_QK


def refined(index: Any, labels_LD: np.ndarray[Any, Any], factor: int, told: Any) -> tuple[Any, Any]:
    """faiss's own way of scoring `factor` times k candidates of codes again, and the parameters of a search."""
    vectors = faiss.IndexFlatIP(index.d)
    vectors.add(labels_LD)
    parameters = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=told)
    return faiss.IndexRefine(index, vectors), parameters
