"""Adagrad with one accumulator a row: the optimiser for large tables of which a step touches few rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

EPSILON = 1e-10


class RowAdagrad(torch.optim.Optimizer):
    """h_r += mean(g_r^2); row_r -= learning_rate x g_r / (sqrt(h_r) + 1e-10), for the rows r that have a gradient.

    A sparse gradient costs its own rows only, in time and in state (one number a row); a dense one is the same for all
    rows. Reference: Duchi et al. 2011, with the accumulator shared by a row as is usual for embedding tables.

    >>> table = torch.nn.Parameter(torch.zeros(2, 1))
    >>> optimizer = RowAdagrad([table], lr=0.5)
    >>> table.grad = torch.sparse_coo_tensor([[1]], [[4.0]], (2, 1))
    >>> optimizer.step()
    >>> table.data.flatten().tolist()
    [0.0, -0.5]
    """

    def __init__(self, params: Iterable[Any], *, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"])

    def _update(self, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state["row_sum"] = torch.zeros(parameter.shape[0], device=parameter.device)
        row_sum = cast("Tensor", state["row_sum"])
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            rows, values = gradient.indices()[0], gradient.values()
            row_sum.index_add_(0, rows, _mean_square(values))
            parameter.index_add_(0, rows, values / _scale(row_sum[rows], values), alpha=-rate)
        else:
            row_sum += _mean_square(gradient)
            parameter.addcdiv_(gradient, _scale(row_sum, gradient), value=-rate)


def _mean_square(values_RD: Tensor) -> Tensor:
    if values_RD.dim() == 1:
        return values_RD.square()
    flat_RD = values_RD.flatten(1)
    return torch.linalg.vector_norm(flat_RD, dim=1).square_().div_(flat_RD.shape[1])  # no square of each value is kept


def _scale(row_sum_R: Tensor, values_RD: Tensor) -> Tensor:
    return (row_sum_R.sqrt() + EPSILON).reshape(-1, *[1] * (values_RD.dim() - 1))
