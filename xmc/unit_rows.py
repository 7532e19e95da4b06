"""Rows of length one, with a gradient that costs a few passes over them instead of a dozen.

Shapes: N rows, D width, B rows of a block.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

LEAST = 1e-12  # what a shorter row is divided by, as torch does
BLOCK_BYTES = 1 << 20  # of gradient: its block stays in a CPU's cache from one step to the next


def unit_rows(vectors_ND: Tensor) -> Tensor:
    """Rows divided by their Euclidean norm; a zero row stays zero. Differentiable once.

    Naive: `torch.nn.functional.normalize(vectors_ND, dim=1)`, whose values these are. With y = x / |x| the gradient is
    (g - y (y·g)) / |x|.

    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    return cast("Tensor", _UnitRows.apply(vectors_ND))


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors_ND: Tensor) -> Tensor:
        norms_N1 = torch.linalg.vector_norm(vectors_ND, dim=1, keepdim=True)
        units_ND = vectors_ND / norms_N1.clamp_min(LEAST)
        ctx.save_for_backward(units_ND, norms_N1)
        return units_ND

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        if torch.is_grad_enabled():  # create_graph=True: better an error than a second derivative without these terms
            raise NotImplementedError("unit_rows can be differentiated once, not twice")
        (gradient_ND,), (units_ND, norms_N1) = gradients, ctx.saved_tensors
        out_ND = torch.empty_like(gradient_ND)
        rows = len(gradient_ND) if gradient_ND.is_cuda else BLOCK_BYTES // max(1, gradient_ND[:1].nbytes)
        parts = (tensor.split(max(1, rows)) for tensor in (gradient_ND, units_ND, norms_N1, out_ND))
        for gradient_BD, units_BD, norms_B1, out_BD in zip(*parts, strict=True):
            along_B1 = (gradient_BD * units_BD).sum(dim=1, keepdim=True)
            along_B1.masked_fill_(norms_B1 <= LEAST, 0.0)  # divided by a constant
            torch.addcmul(gradient_BD, units_BD, along_B1, value=-1, out=out_BD)
            out_BD.div_(norms_B1.clamp_min(LEAST))
        return out_ND
