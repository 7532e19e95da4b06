"""From torch tensors, dense or CSR, to the SciPy matrices that are multiplied.

Shapes: N rows, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor


def to_rows(vectors_ND: Tensor) -> Any:
    """The matrix as SciPy CSR, float32, columns ascending, zeros left out; a copy, so nothing is shared.

    >>> to_rows(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).indptr.tolist()
    [0, 1, 1]
    """
    if vectors_ND.layout == torch.sparse_csr:
        parts = (vectors_ND.values(), vectors_ND.col_indices(), vectors_ND.crow_indices())
        arrays = tuple(part.detach().cpu().numpy() for part in parts)
        rows_ND = scipy.sparse.csr_matrix(arrays, shape=tuple(vectors_ND.shape), dtype=np.float32, copy=True)
    else:
        rows_ND = scipy.sparse.csr_matrix(vectors_ND.detach().cpu().numpy(), dtype=np.float32)
    rows_ND.sum_duplicates()  # also sorts
    rows_ND.eliminate_zeros()
    return rows_ND


def normalise_rows(rows_ND: Any) -> Any:
    """Rows divided by their Euclidean norm, float32; an empty row stays empty. Norms are sums in float64."""
    wide_ND = rows_ND.astype(np.float64)
    norms_N = np.sqrt(np.asarray(wide_ND.multiply(wide_ND).sum(axis=1)).ravel())
    lengths_N = np.diff(wide_ND.indptr)
    wide_ND.data /= np.repeat(np.where(norms_N > 0, norms_N, 1.0), lengths_N)
    return wide_ND.astype(np.float32)
