"""The negatives of a batch as a histogram: each shared between its two nearest nodes, so that it stays differentiable.

Shapes: Q queries, C scored labels, P positive pairs, G nodes of the grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from xmc.api import LossInputs

BLOCK_ELEMENTS = 2**20
MAX_DENSE_NODES = 2**16


def negatives_histogram(inputs: LossInputs, *, temperature: float, bin_width: float) -> tuple[Tensor, Tensor]:
    """Nodes (G,), multiples of `bin_width`, and the share of the negatives' logits on each (G,), summing to 1.

    A logit between two nodes is shared so that its mean is kept (cloud in cell). Replacing x by its share changes the
    mean of any function f by at most `bin_width² / 8 · max |f''|`, and never lowers it where f is convex. There must be
    a negative. Differentiable once; the gradient is the slope of f between the two nodes.

    >>> inputs = LossInputs.from_dense(torch.tensor([[9.0, 0.5, 1.25]]), torch.tensor([[1.0, 0.0, 0.0]]))
    >>> nodes_G, share_G = negatives_histogram(inputs, temperature=1.0, bin_width=1.0)
    >>> nodes_G[:3].tolist(), share_G[:3].tolist()
    ([0.0, 1.0, 2.0], [0.25, 0.625, 0.125])
    """
    rows_P, columns_P = inputs.positive_rows_P, inputs.positive_columns_P
    if inputs.skipped_rows_S is not None and inputs.skipped_columns_S is not None:  # left out as the positives are
        rows_P = torch.cat((rows_P, inputs.skipped_rows_S))
        columns_P = torch.cat((columns_P, inputs.skipped_columns_S))
    answer: tuple[Tensor, Tensor] = _CloudInCell.apply(
        inputs.scores_QC, rows_P, columns_P, 1.0 / (temperature * bin_width), bin_width
    )
    return answer


class _CloudInCell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores_QC: Tensor, rows_P: Tensor, columns_P: Tensor, scale: float, bin_width: float
    ) -> tuple[Tensor, Tensor]:
        nodes_G = _nodes(scores_QC, scale)
        share_G = torch.zeros(len(nodes_G), dtype=torch.float64, device=scores_QC.device)
        for rows in _blocks(scores_QC):
            _add(share_G, nodes_G, scores_QC[rows].flatten(), scale, 1)
        _add(share_G, nodes_G, scores_QC[rows_P, columns_P], scale, -1)
        ctx.negatives = scores_QC.numel() - len(rows_P)
        ctx.scale = scale
        ctx.save_for_backward(scores_QC, rows_P, columns_P, nodes_G)
        dtype = _working_dtype(scores_QC)
        nodes = (nodes_G * bin_width).to(dtype)
        ctx.mark_non_differentiable(nodes)
        return nodes, (share_G / ctx.negatives).to(dtype)

    @staticmethod
    def backward(ctx: Any, _: Tensor, gradient_G: Tensor) -> tuple[Tensor, None, None, None, None]:
        scores_QC, rows_P, columns_P, nodes_G = ctx.saved_tensors
        slope_G = gradient_G.diff() * (ctx.scale / ctx.negatives)
        gradient_QC = torch.empty_like(scores_QC)
        for rows in _blocks(scores_QC):
            gradient_QC[rows] = slope_G[_cells(nodes_G, scores_QC[rows], ctx.scale)[0]].to(scores_QC.dtype)
        gradient_QC[rows_P, columns_P] = 0.0
        return gradient_QC, None, None, None, None


def _nodes(scores_QC: Tensor, scale: float) -> Tensor:
    """The whole numbers of the grid that the scores need, ascending: a range, or only those used when it is wide."""
    ends = torch.stack(torch.aminmax(scores_QC)).to(_working_dtype(scores_QC))
    first, last = (ends * scale).floor().long().tolist()
    if last - first + 2 <= MAX_DENSE_NODES:
        return torch.arange(first, last + 2, device=scores_QC.device)
    used = (scores_QC.to(_working_dtype(scores_QC)) * scale).floor().long().unique()
    return torch.cat((used, used + 1)).unique()


def _cells(nodes_G: Tensor, scores: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """For each score the position of the node below it, and its distance from there as a part of the bin."""
    place = scores.to(_working_dtype(scores)) * scale
    below = place.floor()
    number = below.long()
    if int(nodes_G[-1] - nodes_G[0]) == len(nodes_G) - 1:
        return number.sub_(nodes_G[0]), place.sub_(below)
    return torch.searchsorted(nodes_G, number), place.sub_(below)


def _add(share_G: Tensor, nodes_G: Tensor, scores_N: Tensor, scale: float, sign: int) -> None:
    """Add the scores' shares to the histogram; in float64, since a bin may hold millions."""
    cell_N, part_N = _cells(nodes_G, scores_N, scale)
    upper_G = torch.bincount(cell_N, weights=part_N.double(), minlength=len(nodes_G))
    count_G = torch.bincount(cell_N, minlength=len(nodes_G))
    share_G.add_(count_G - upper_G, alpha=sign)
    share_G[1:].add_(upper_G[:-1], alpha=sign)


def _working_dtype(scores: Tensor) -> torch.dtype:
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def _blocks(scores_QC: Tensor) -> Iterator[slice]:
    size = max(1, BLOCK_ELEMENTS // max(1, scores_QC.shape[1]))
    for start in range(0, scores_QC.shape[0], size):
        yield slice(start, start + size)
