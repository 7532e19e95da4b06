"""Matrix products into float32, of float32 or bfloat16 operands."""

from __future__ import annotations

import torch
from torch import Tensor


def product_into(out: Tensor, left: Tensor, right: Tensor) -> None:
    """`out = left @ right`; narrower operands are multiplied as they are and their product is rounded to their type."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left @ right)


def add_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """`out += left @ right`, as `product_into`.

    >>> sums = torch.ones(1, 1)
    >>> add_product(sums, torch.tensor([[2.0]]).bfloat16(), torch.tensor([[3.0]]).bfloat16())
    >>> sums
    tensor([[7.]])
    """
    if left.dtype == out.dtype:
        out.addmm_(left, right)
    else:
        out.add_(left @ right)
