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


def add_product(out: Tensor, left: Tensor, right: Tensor, *, share: float = 1.0, first: bool = False) -> None:
    """`out += share * (left @ right)`, as `product_into`; the `first` is written over what is there.

    >>> sums, two = torch.full((1, 1), torch.nan), torch.tensor([[2.0]])
    >>> add_product(sums, two, two, first=True)
    >>> add_product(sums, two.bfloat16(), two.bfloat16(), share=0.5)
    >>> sums
    tensor([[6.]])
    """
    if left.dtype == out.dtype:
        out.addmm_(left, right, beta=0 if first else 1, alpha=share)
    elif first:
        out.copy_(left @ right).mul_(share)
    else:
        out.add_(left @ right, alpha=share)
