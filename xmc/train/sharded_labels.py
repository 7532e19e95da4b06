"""Labels split over the ranks: each embeds, holds and updates its own contiguous share.

To score, the vectors are gathered, so that each rank's queries meet all labels and any loss works unchanged; the
vectors' gradients are summed at the rank whose labels they are. Shapes: C labels asked for, L in all, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xmc.api import HeadContext
from xmc.train.distributed import Ranks
from xmc.train.label_source import GradientVectors, LabelSource

IntArray = np.ndarray[Any, Any]


class ShardedLabels:
    """A `LabelSource` of all labels, over sources of each rank's share.

    Every method that gives vectors or the state is called by all ranks at the same time. The labels begin as they would
    in one process. A source's state is made of tensors with a row for each label.
    """

    def __init__(self, make_source: Callable[[HeadContext], LabelSource], context: HeadContext) -> None:
        self._ranks: Ranks = context.ranks
        self._shares = self._ranks.shares(context.labels)
        self._own = self._ranks.share(context.labels)
        self._summed = context.pool == "batch"  # every rank then scores the whole batch, and has the whole gradient
        self._dimension, self._device = context.dimension, context.device
        parameters = context.encoder.module.parameters() if context.encoder else ()
        self._dtype = next((parameter.dtype for parameter in parameters), torch.float32)
        own_rows = np.arange(self._own.start, self._own.stop)
        own = replace(context, labels=len(own_rows), label_features=context.label_features.take(own_rows))
        self._source = make_source(own)
        self.parameters: Callable[[], list[nn.Parameter]] = self._source.parameters
        self.update: Callable[[float], None] = self._source.update
        self.observe: Callable[[Tensor], None] = self._source.observe
        if self._source.state():
            self.load_state(make_source(context).state())

    def vectors(self, label_rows: IntArray | None) -> ShardedVectors:
        """Vectors of these labels (ascending; None = all) on every rank, with gradient."""
        if label_rows is None:
            shares, own_rows = self._shares, None
        else:
            bounds = np.searchsorted(label_rows, [0, *(share.stop for share in self._shares)]).tolist()
            shares = [slice(start, stop) for start, stop in pairwise(bounds)]
            own_rows = label_rows[shares[self._ranks.rank]] - self._own.start
        own = shares[self._ranks.rank]
        vectors = self._source.vectors(own_rows) if own.stop > own.start else None
        return ShardedVectors(vectors, self._empty(shares[-1].stop), shares, ranks=self._ranks, summed=self._summed)

    def chunks(self, label_rows: IntArray) -> Iterator[Tensor]:
        """Vectors of these labels on every rank, without gradient, in one piece."""
        owner = np.searchsorted([share.stop for share in self._shares], label_rows, side="right")
        places = [np.flatnonzero(owner == rank) for rank in range(self._ranks.size)]
        own = label_rows[places[self._ranks.rank]] - self._own.start
        vectors = list(self._source.chunks(own)) if len(own) else [self._empty(0).float()]
        yield self._ranks.gather_places(torch.cat(vectors), places)

    def state(self) -> dict[str, Tensor]:
        """The state of all labels."""
        whole = {}
        for name, own in self._source.state().items():
            whole[name] = own.new_empty((self._shares[-1].stop, *own.shape[1:]))
            whole[name][self._own] = own
            self._ranks.fill_rows(whole[name], self._shares)
        return whole

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over this rank's share of the state of all labels."""
        self._source.load_state({name: value[self._own].clone() for name, value in state.items()})

    def _empty(self, count: int) -> Tensor:
        return torch.empty(count, self._dimension, dtype=self._dtype, device=self._device)


class ShardedVectors:
    """Vectors (C, D) of all ranks together; their gradient is summed and sent back by the rank whose labels they are.

    `summed`: the gradient is the same on every rank already.
    """

    def __init__(
        self,
        own: GradientVectors | None,
        whole_CD: Tensor,
        shares: Sequence[slice],
        *,
        ranks: Ranks,
        summed: bool,
    ) -> None:
        self._own, self._shares, self._ranks, self._summed = own, shares, ranks, summed
        if own is not None:
            whole_CD[shares[ranks.rank]] = own.embeddings_ND
        ranks.fill_rows(whole_CD, shares)
        self.embeddings_ND = whole_CD

    def backward(self, gradient_ND: Tensor) -> None:
        """Send this rank's labels' gradient on to what they were made of; `gradient_ND` is used up."""
        if self._summed:
            own_ND = gradient_ND[self._shares[self._ranks.rank]]
        else:
            own_ND = self._ranks.sum_rows(gradient_ND, self._shares)
        if self._own is not None:
            self._own.backward(own_ND)
