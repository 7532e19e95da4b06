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
from xmc.ragged import offsets_of, taken
from xmc.sent import sent

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
        offsets, source = taken(self.offsets, rows)
        return Bags(offsets, self.ids[source], self.weights[source])

    @cached_property
    def layout(self) -> BagLayout:
        """The bags without their weights."""
        return BagLayout(self.offsets, self.ids)

    def weights_on(self, device: torch.device) -> Tensor:
        """The weights there; kept on a GPU, as the layout is."""
        if device.type == "cpu":
            return torch.from_numpy(self.weights)
        if device not in self._copies:
            with torch.inference_mode(False):
                self._copies[device] = sent(torch.from_numpy(self.weights), device)
        return self._copies[device]

    def transposed_weights_on(self, device: torch.device) -> Tensor:
        """The weights there in the order of the layout's transposition; kept."""
        if device not in self._transposed:
            with torch.inference_mode(False):
                self._transposed[device] = self.layout.transposition.reordered(self.weights_on(device))
        return self._transposed[device]

    @cached_property
    def _copies(self) -> dict[torch.device, Tensor]:
        return {}

    @cached_property
    def _transposed(self) -> dict[torch.device, Tensor]:
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
    offsets = offsets_of(np.concatenate([np.diff(part.offsets) for part in parts]))
    return Bags(offsets, np.concatenate([p.ids for p in parts]), np.concatenate([p.weights for p in parts]))


def bag_embeddings(bags: Bags, table_TD: Tensor, *, dropout: float = 0.0, row_gradient: bool = False) -> Tensor:
    """Sum of weight x table row over each bag, (N, D).

    `dropout` leaves out that share of each bag's entries, drawn anew at every call by the device that holds the table.
    `row_gradient` makes the gradient of the table a sparse tensor of the rows that occur, for an optimiser whose step
    costs only those.

    >>> bags = Bags(np.array([0, 2, 2]), np.array([0, 1]), np.array([0.5, 0.25], np.float32))
    >>> bag_embeddings(bags, torch.tensor([[2.0], [4.0]])).tolist()
    [[2.0], [0.0]]
    """
    dropped = _dropped(bags.weights_on(table_TD.device), dropout) if dropout > 0 else None
    if table_TD.requires_grad and torch.is_grad_enabled():
        return cast("Tensor", _BagSum.apply(table_TD, bags, dropped, row_gradient))
    return _bag_sum(bags.layout, table_TD, bags.weights_on(table_TD.device) if dropped is None else dropped)


def _dropped(weights: Tensor, dropout: float) -> Tensor:
    return weights * (torch.rand(len(weights), device=weights.device) >= dropout)


def _bag_sum(layout: BagLayout, table_TD: Tensor, weights: Tensor) -> Tensor:
    summed = sum_in_pieces if table_TD.is_cuda else _weighted_sum
    return summed(layout, table_TD, weights.to(table_TD.dtype))


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
    def forward(ctx: Any, table_TD: Tensor, bags: Bags, dropped: Tensor | None, row_gradient: bool) -> Tensor:
        ctx.bags, ctx.dropped, ctx.shape, ctx.row_gradient = bags, dropped, table_TD.shape, row_gradient
        return _bag_sum(bags.layout, table_TD, bags.weights_on(table_TD.device) if dropped is None else dropped)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        gradient_ND = gradients[0].contiguous()
        device, transposition = gradient_ND.device, ctx.bags.layout.transposition
        if ctx.dropped is None:
            weights = ctx.bags.transposed_weights_on(device)
        else:
            weights = transposition.reordered(ctx.dropped)
        if not ctx.row_gradient:
            return _bag_sum(transposition.whole(ctx.shape[0]), gradient_ND, weights), None, None, None
        values_RD = _bag_sum(transposition.occurring, gradient_ND, weights)
        indices = sent(torch.from_numpy(transposition.rows), device)
        sparse = torch.sparse_coo_tensor(indices[None], values_RD, ctx.shape, is_coalesced=True, check_invariants=False)
        return sparse, None, None, None


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
