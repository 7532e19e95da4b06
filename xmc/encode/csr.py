"""Sparse vectors as torch CSR tensors, which torch can neither make quietly nor concatenate.

Shapes: N rows, D features.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor


def csr_tensor(offsets: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """`torch.sparse_csr_tensor` without torch's warning that it calls the layout beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, size)


def concatenate_rows(parts: Iterable[Tensor], *, dimension: int) -> Tensor:
    """Dense or CSR tensors one below the other (`torch.cat` has no form for CSR); none at all gives (0, dimension).

    >>> rows = concatenate_rows([torch.eye(2).to_sparse_csr(), torch.eye(2)[1:].to_sparse_csr()], dimension=2)
    >>> rows.to_dense().tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    tensors = list(parts)
    if not tensors or tensors[0].layout != torch.sparse_csr:
        return torch.cat(tensors) if tensors else torch.empty(0, dimension)
    counts = torch.cat([tensor.crow_indices().diff() for tensor in tensors])
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    columns, values = (torch.cat(part) for part in zip(*((t.col_indices(), t.values()) for t in tensors), strict=True))
    return csr_tensor(offsets, columns, values, (len(counts), dimension))
