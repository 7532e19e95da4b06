"""Bags of tokens: each text as its distinct token ids with weights, ragged like a CSR matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xmc.encode.bag_layout import BagLayout
from xmc.encode.encoder import IntArray

TEXTS_AT_ONCE = 2048  # keeps the Python lists of a long corpus from living at the same time


@dataclass(frozen=True)
class Bags:
    """N bags: bag i holds `ids[offsets[i]:offsets[i + 1]]`, each id once, ascending, with its weight.

    Shapes: `offsets` (N + 1,) int64; `ids` (T,) int32; `weights` (T,) float32.
    """

    offsets: IntArray
    ids: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: IntArray) -> Bags:
        """The bags of the given texts, in the given order."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        source = np.repeat(self.offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Bags(offsets, self.ids[source], self.weights[source])

    @cached_property
    def layout(self) -> BagLayout:
        """The bags without their weights."""
        return BagLayout(self.offsets, self.ids)

    @classmethod
    def of_layout(cls, layout: BagLayout, weights: np.ndarray[Any, Any]) -> Bags:
        """The bags of a layout with these weights; what was worked out of the layout is shared."""
        bags = cls(layout.offsets, layout.ids, weights)
        bags.__dict__["layout"] = layout  # in the place of what the property would work out
        return bags

    def transposed(self, rows: int | None = None) -> Bags:
        """For each id that occurs, or for each of 0..rows-1, the bag of (text row, weight).

        >>> bags = Bags(np.array([0, 1, 3]), np.array([7, 2, 7]), np.ones(3))
        >>> bags.layout.transposition.rows.tolist(), bags.transposed().offsets.tolist(), bags.transposed().ids.tolist()
        ([2, 7], [0, 1, 3], [1, 0, 1])
        """
        made = self._transposed
        if rows not in made:
            found = self.layout.transposition
            layout = found.occurring if rows is None else found.whole(rows)
            made[rows] = Bags.of_layout(layout, self.weights[found.entries])
        return made[rows]

    def weights_on(self, table_TD: Tensor) -> Tensor:
        """The weights where a table lies and in its format; kept on a GPU, as the layout is."""
        if not table_TD.is_cuda:
            return torch.from_numpy(self.weights).to(table_TD)
        made, key = self._copies, (table_TD.device, table_TD.dtype)
        if key not in made:
            with torch.inference_mode(False):
                made[key] = torch.from_numpy(self.weights).to(table_TD)
        return made[key]

    @cached_property
    def _transposed(self) -> dict[int | None, Bags]:
        return {}

    @cached_property
    def _copies(self) -> dict[tuple[torch.device, torch.dtype], Tensor]:
        return {}


def tokenise(texts: Sequence[str], encode: Callable[[list[str]], list[IntArray]]) -> Bags:
    """Bags of relative frequency: a token that makes up 2 of a text's 10 tokens weighs 0.2. An empty text is empty.

    `encode` turns a list of texts into their token ids. The sum of weight x vector is the mean of token vectors.
    """
    parts = [_count(encode(list(texts[i : i + TEXTS_AT_ONCE]))) for i in range(0, len(texts), TEXTS_AT_ONCE)]
    if not parts:
        return Bags(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    return concatenate(parts)


def concatenate(parts: Sequence[Bags]) -> Bags:
    """One after the other."""
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return Bags(offsets, np.concatenate([p.ids for p in parts]), np.concatenate([p.weights for p in parts]))


def bag_embeddings(bags: Bags, table_TD: Tensor, *, dropout: float = 0.0, row_gradient: bool = False) -> Tensor:
    """Sum of weight x table row over each bag, (N, D).

    `dropout` leaves out that share of each bag's entries, drawn anew at every call. `row_gradient` makes the gradient
    of the table a sparse tensor of the rows that occur, for an optimiser whose step costs only those.

    >>> bags = Bags(np.array([0, 2, 2]), np.array([0, 1]), np.array([0.5, 0.25], np.float32))
    >>> bag_embeddings(bags, torch.tensor([[2.0], [4.0]])).tolist()
    [[2.0], [0.0]]
    """
    if dropout > 0:
        kept = (torch.rand(len(bags.weights)) >= dropout).numpy()
        bags = Bags.of_layout(bags.layout, bags.weights * kept)
    if table_TD.requires_grad and torch.is_grad_enabled():
        return cast("Tensor", _BagSum.apply(table_TD, bags, row_gradient))
    return _bag_sum(bags, table_TD)


def _bag_sum(bags: Bags, table_TD: Tensor) -> Tensor:
    summed = sum_in_pieces if table_TD.is_cuda else _weighted_sum
    return summed(bags.layout, table_TD, bags.weights_on(table_TD))


def sum_in_pieces(layout: BagLayout, table_TD: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of weight x table row over each bag, long bags in pieces whose sums are added up; without weights each is 1.

    >>> layout = BagLayout(np.array([0, 1000]), np.zeros(1000, np.int64))
    >>> sum_in_pieces(layout, torch.ones(1, 1), None).item()
    1000.0
    """
    if layout.pieces is None:
        return _weighted_sum(layout, table_TD, weights)
    cut, joined = layout.pieces
    return sum_in_pieces(joined, _weighted_sum(cut, table_TD, weights), None)


def _weighted_sum(layout: BagLayout, table_TD: Tensor, weights: Tensor | None) -> Tensor:
    ids, offsets = layout.on(table_TD.device)
    return functional.embedding_bag(
        ids, table_TD, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


class _BagSum(torch.autograd.Function):
    """`_bag_sum` whose backward pass is a bag sum too, over the transposed bags: each row is written once.

    (The library's own backward pass adds entry by entry, which is many times slower on a CPU.)
    """

    @staticmethod
    def forward(ctx: Any, table_TD: Tensor, bags: Bags, row_gradient: bool) -> Tensor:
        ctx.bags, ctx.shape, ctx.row_gradient = bags, table_TD.shape, row_gradient
        return _bag_sum(bags, table_TD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient_ND = gradients[0].contiguous()
        if not ctx.row_gradient:
            return _bag_sum(ctx.bags.transposed(ctx.shape[0]), gradient_ND), None, None
        values_RD = _bag_sum(ctx.bags.transposed(), gradient_ND)
        indices = torch.from_numpy(ctx.bags.layout.transposition.rows).to(gradient_ND.device)
        sparse = torch.sparse_coo_tensor(indices[None], values_RD, ctx.shape, is_coalesced=True, check_invariants=False)
        return sparse, None, None


def _count(ids_of_texts: list[IntArray]) -> Bags:
    lengths = np.array([len(ids) for ids in ids_of_texts], dtype=np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    ids = np.concatenate(ids_of_texts) if len(ids_of_texts) else np.zeros(0, np.int64)
    weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(np.float32)
    return _sum_duplicates(rows, ids, weights, len(lengths))


def _sum_duplicates(rows: IntArray, ids: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], row_count: int) -> Bags:
    span = int(ids.max(initial=0)) + 1
    keys = rows * span + ids
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.zeros(0, np.int64)
    summed = np.add.reduceat(weights[order], first) if len(keys) else weights
    unique = keys[first]
    offsets = np.searchsorted(unique, np.arange(row_count + 1) * span).astype(np.int64)
    return Bags(offsets, (unique % span).astype(np.int32), summed.astype(np.float32))
