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


def take_rows(vectors_ND: Tensor, rows: Tensor) -> Tensor:
    """The given rows of a dense or CSR tensor, in the given order (torch cannot index CSR).

    >>> take_rows(torch.eye(3).to_sparse_csr(), torch.tensor([2, 0])).to_dense().tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    rows = rows.to(vectors_ND.device)
    if vectors_ND.layout != torch.sparse_csr:
        return vectors_ND[rows]
    starts = vectors_ND.crow_indices()
    counts = starts.diff()[rows]
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    source = torch.repeat_interleave(starts[:-1][rows] - offsets[:-1], counts) + torch.arange(
        int(offsets[-1]), device=rows.device
    )
    columns, values = vectors_ND.col_indices()[source], vectors_ND.values()[source]
    return csr_tensor(offsets, columns, values, (len(rows), vectors_ND.shape[1]))
