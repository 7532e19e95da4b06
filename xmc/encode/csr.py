"""Sparse vectors as torch CSR tensors, which torch can neither make quietly nor concatenate.

Shapes: N rows, D features.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_SHORTEST = 1e-300  # norm that is divided by: below that of any float32 vector but zero


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


def wide_unit_rows(vectors_ND: Tensor) -> Tensor:
    """The rows of a dense or CSR tensor divided by their norm, in float64, however short; a row of zeros stays one.

    >>> wide_unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]).to_sparse_csr()).to_dense().tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    wide_ND = vectors_ND.double()
    if wide_ND.layout != torch.sparse_csr:
        return torch.nn.functional.normalize(wide_ND, dim=1, eps=_SHORTEST)
    counts_N, values = wide_ND.crow_indices().diff(), wide_ND.values()
    rows = torch.arange(len(counts_N), device=values.device).repeat_interleave(counts_N)
    norms_N = values.new_zeros(len(counts_N)).index_add(0, rows, values.square()).sqrt().clamp(min=_SHORTEST)
    size = (wide_ND.shape[0], wide_ND.shape[1])
    return csr_tensor(wide_ND.crow_indices(), wide_ND.col_indices(), values / norms_N[rows], size)


def scipy_rows(vectors_ND: Tensor) -> Any:
    """A dense or CSR tensor as a SciPy CSR matrix in float64, whose products with others SciPy can take.

    >>> scipy_rows(torch.eye(2).to_sparse_csr()).toarray().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    from scipy.sparse import csr_matrix

    if vectors_ND.layout != torch.sparse_csr:
        return csr_matrix(vectors_ND.detach().double().cpu().numpy())
    parts = (vectors_ND.values().double(), vectors_ND.col_indices(), vectors_ND.crow_indices())
    return csr_matrix(tuple(part.detach().cpu().numpy() for part in parts), shape=tuple(vectors_ND.shape))


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
