"""Sums in one fixed order: the same pair of vectors gives the same bits in every batch, thread count and device.

A matrix product may add up in another order for another batch size, so duplicates need not tie in it. Here the
products are exact in float64 and are folded in halves by element-wise additions, which IEEE 754 fixes to the bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_FEW = 8  # numbers; so few take Python no longer than numpy takes to be called
_SMALL = 65_536  # numbers; so few take numpy less time than it takes torch to be called


def dot_pairs(left_PD: Tensor, right_PD: Tensor) -> Tensor:
    """Dot product of each pair of rows, float64, (P,).

    Naive: `(left_PD.double() * right_PD.double()).sum(1)`, in a fixed order.

    >>> import torch
    >>> dot_pairs(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]]))
    tensor([32.], dtype=torch.float64)
    """
    import torch

    if _is_small(left_PD) and _is_small(right_PD):
        products_PD = left_PD.double().numpy() * right_PD.double().numpy()  # by torch, for numpy knows no bfloat16
        return torch.from_numpy(_folded_by_numpy(products_PD))
    return _folded(left_PD.double() * right_PD.double(), lambda parts: torch.cat(parts, dim=1))


def normalise_rows(vectors_ND: Tensor) -> Tensor:
    """Rows divided by their Euclidean norm, float32; a zero row stays zero.

    >>> import torch
    >>> normalise_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    if _is_small(vectors_ND):
        return _normalised_by_numpy(vectors_ND)
    norms_N = dot_pairs(vectors_ND, vectors_ND).sqrt()
    return (vectors_ND.double() / norms_N.masked_fill(norms_N == 0, 1.0)[:, None]).float()


def _normalised_by_numpy(vectors_ND: Tensor) -> Tensor:
    """The same operations in the same order, hence the same bits."""
    import numpy as np
    import torch

    rows_ND = vectors_ND.double().numpy()
    if len(rows_ND) == 1:
        norm = math.sqrt(_folded_row(np.square(rows_ND[0]))) or 1.0
        return torch.from_numpy((rows_ND / norm).astype(np.float32))
    norms_N = np.sqrt(_folded_by_numpy(rows_ND * rows_ND))
    norms_N[norms_N == 0] = 1.0
    return torch.from_numpy((rows_ND / norms_N[:, None]).astype(np.float32))


def _is_small(vectors_ND: Tensor) -> bool:
    return vectors_ND.is_cpu and vectors_ND.numel() <= _SMALL and not vectors_ND.requires_grad


def _folded_by_numpy(products_PD: Any) -> Any:
    import numpy as np

    return _folded(products_PD, lambda parts: np.concatenate(parts, axis=1))


def _folded_row(sums_D: Any) -> float:
    """`_folded` of a single row: the last few in Python, where each operation of numpy would cost more than they do."""
    import numpy as np

    while (width := len(sums_D)) > _FEW:
        half = width // 2
        folded = sums_D[:half] + sums_D[half : 2 * half]
        sums_D = np.concatenate((folded, sums_D[2 * half :])) if width % 2 else folded
    sums: list[float] = sums_D.tolist()
    while (width := len(sums)) > 1:
        half = width // 2
        sums = [left + right for left, right in zip(sums[:half], sums[half:], strict=False)] + sums[2 * half :]
    return sums[0]


def _folded(sums_PD: Any, concatenate: Callable[[list[Any]], Any]) -> Any:
    """The sum of each row, halves added to each other until one column is left."""
    while (width := sums_PD.shape[1]) > 1:
        half = width // 2
        folded = sums_PD[:, :half] + sums_PD[:, half : 2 * half]
        sums_PD = concatenate([folded, sums_PD[:, 2 * half :]]) if width % 2 else folded
    return sums_PD[:, 0]
