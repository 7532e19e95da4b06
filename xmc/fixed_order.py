"""Sums in one fixed order: the same pair of vectors gives the same bits in every batch, thread count and device.

A matrix product may add up in another order for another batch size, so duplicates need not tie in it. Here the
products are exact in float64 and are folded in halves by element-wise additions, which IEEE 754 fixes to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def dot_pairs(left_PD: Tensor, right_PD: Tensor) -> Tensor:
    """Dot product of each pair of rows, float64, (P,).

    Naive: `(left_PD.double() * right_PD.double()).sum(1)`, in a fixed order.

    >>> import torch
    >>> dot_pairs(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]]))
    tensor([32.], dtype=torch.float64)
    """
    import torch

    sums = left_PD.double() * right_PD.double()
    while (width := sums.shape[1]) > 1:
        half = width // 2
        folded = sums[:, :half] + sums[:, half : 2 * half]
        sums = torch.cat([folded, sums[:, 2 * half :]], dim=1) if width % 2 else folded
    return sums[:, 0]


def normalise_rows(vectors_ND: Tensor) -> Tensor:
    """Rows divided by their Euclidean norm, float32; a zero row stays zero.

    >>> import torch
    >>> normalise_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    norms_N = dot_pairs(vectors_ND, vectors_ND).sqrt()
    return (vectors_ND.double() / norms_N.masked_fill(norms_N == 0, 1.0)[:, None]).float()
