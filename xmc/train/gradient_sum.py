"""Sum the gradients of an encoder that every rank holds a copy of, dense ones whole, sparse ones by their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from xmc.train.distributed import Ranks

NO_GRADIENT, DENSE, SPARSE = 0, 1, 2


def sum_gradients(parameters: Iterable[nn.Parameter], *, ranks: Ranks) -> None:
    """Make every `.grad` the sum over the ranks, the same bits on each; a rank without a gradient counts as zero."""
    if ranks.size == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    kinds = ranks.largest([_kind(parameter) for parameter in trained])
    _sum_dense([parameter for parameter, kind in zip(trained, kinds, strict=True) if kind == DENSE], ranks)
    for parameter, kind in zip(trained, kinds, strict=True):
        if kind == SPARSE:
            parameter.grad = _sum_sparse(parameter, ranks)


def _kind(parameter: nn.Parameter) -> int:
    if parameter.grad is None:
        return NO_GRADIENT
    return SPARSE if parameter.grad.is_sparse else DENSE


def _sum_dense(parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
    if not parameters:
        return
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    flat = ranks.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _sum_sparse(parameter: nn.Parameter, ranks: Ranks) -> Tensor:
    """Only the rows that occur travel."""
    shape, own = parameter.shape, parameter.grad
    own_rows = torch.empty(0, dtype=torch.int64, device=parameter.device)
    own_values = parameter.new_empty((0, *shape[1:]))
    if own is not None:
        own = own.coalesce()
        own_rows, own_values = own.indices()[0], own.values()
    counts = ranks.gather(torch.tensor(len(own_rows))).tolist()
    ends = np.cumsum(counts).tolist()
    shares = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    rows, values = own_rows.new_empty(ends[-1]), own_values.new_empty((ends[-1], *shape[1:]))
    rows[shares[ranks.rank]], values[shares[ranks.rank]] = own_rows, own_values
    ranks.fill_rows(rows, shares)
    ranks.fill_rows(values, shares)
    return torch.sparse_coo_tensor(rows[None], values, shape, check_invariants=False).coalesce()
