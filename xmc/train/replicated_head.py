"""A head that knows nothing of ranks, on several: each holds it whole and shows it the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from xmc.api import Head, HeadBatch, Learned
from xmc.train.distributed import Ranks
from xmc.train.scored_head import ScoredHead


class ReplicatedHead:
    """The same head on every rank: embeddings are gathered, each rank repeats the head's step, and takes its own rows.

    Right for any head that answers the same bits to the same embeddings. The head's own work is not divided, that of
    embedding the queries is.
    """

    def __init__(self, head: Head, *, ranks: Ranks, batch_size: int) -> None:
        self.head, self._ranks, self._batch_size = head, ranks, batch_size
        self.parameters, self.update = head.parameters, head.update
        self.label_vectors, self.query_map = head.label_vectors, head.query_map
        self.state, self.load_state = head.state, head.load_state

    def learn(self, queries_QD: Tensor, batch: HeadBatch) -> Learned:
        """Loss and gradient of this rank's queries, which are part of the batch."""
        places = self._ranks.places(len(batch.query_rows_Q), self._batch_size)
        learned = self.head.learn(self._ranks.gather_places(queries_QD, places), batch)
        own = torch.from_numpy(places[self._ranks.rank]).to(queries_QD.device)
        return Learned(learned.losses_Q[own], learned.queries_gradient_QD[own])


def head_for_ranks(head: Head, *, ranks: Ranks, batch_size: int) -> Head:
    """The head as the trainer of one of several ranks uses it: one that divides its work itself stays as it is."""
    if ranks.size == 1 or isinstance(head, ScoredHead):
        return head
    return ReplicatedHead(head, ranks=ranks, batch_size=batch_size)
