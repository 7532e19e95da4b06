"""The softplus of many differences, summed over one side, without ever holding all of them.

Shapes: P positives, G points that they are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

BLOCK_ELEMENTS = 2**20


def weighted_softplus(positives_P: Tensor, points_G: Tensor, weights_G: Tensor) -> Tensor:
    """The sum over the points x of weight · log(1 + exp(x − positive)), for each positive, (P,).

    Naive: `softplus(points_G - positives_P[:, None]) @ weights_G`. Differentiable once, in all three.

    >>> weighted_softplus(torch.zeros(1), torch.zeros(4), torch.full((4,), 0.25)).item()  # log 2
    0.6931471824645996
    """
    answer: Tensor = _WeightedSoftplus.apply(positives_P, points_G, weights_G)
    return answer


class _WeightedSoftplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positives_P: Tensor, points_G: Tensor, weights_G: Tensor) -> Tensor:
        ctx.save_for_backward(positives_P, points_G, weights_G)
        value_P = torch.empty_like(positives_P)
        for rows in _blocks(len(positives_P), len(points_G)):
            value_P[rows] = softplus(points_G - positives_P[rows, None], threshold=40.0) @ weights_G
        return value_P

    @staticmethod
    def backward(ctx: Any, gradient_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if torch.is_grad_enabled():  # create_graph=True: better an error than a second derivative without these terms
            raise NotImplementedError("the Mann-Whitney loss can be differentiated once, not twice")
        positives_P, points_G, weights_G = ctx.saved_tensors
        to_positives_P = torch.empty_like(positives_P)
        to_points_G, to_weights_G = torch.zeros_like(points_G), torch.zeros_like(weights_G)
        for rows in _blocks(len(positives_P), len(points_G)):
            difference_RG = points_G - positives_P[rows, None]
            if ctx.needs_input_grad[2]:
                to_weights_G += gradient_P[rows] @ softplus(difference_RG, threshold=40.0)
            sigmoid_RG = difference_RG.sigmoid_()
            to_positives_P[rows] = -gradient_P[rows] * (sigmoid_RG @ weights_G)
            if ctx.needs_input_grad[1]:
                to_points_G += gradient_P[rows] @ sigmoid_RG
        return to_positives_P, to_points_G.mul_(weights_G), to_weights_G


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, BLOCK_ELEMENTS // max(1, columns))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
