"""What the head kit trains on: a few made-up texts, a small encoder, and the label vectors of a head as one matrix.

Shapes: Q queries, L labels, D width of an embedding, E width of an index vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import FittedHead, Head, HeadBatch, HeadContext, HeadOptions, Learned, Loss, LossInputs, Positives
from xmc.encode.static import StaticOptions
from xmc.ragged import offsets_of
from xmc.train.options import TrainOptions

LABELS = (
    *("fast car", "big old house", "red fish", "happy child", "small boat", "cold winter day", "loud green parrot"),
    *("sour lemon", "copper kettle", "tall tower", "quiet river"),
)
QUERIES = (
    *("a fast car and a big house", "an old house", "fish that is red", "a child on a boat", "nothing of this"),
    *("winter and cold days", "the parrot, loud and green", "lemon in a copper kettle", "tower by the river"),
)
RELEVANT = ((0, 1), (1,), (2,), (3, 4), (), (5,), (6,), (7, 8), (9, 10))
SEED = 3


@dataclass(frozen=True)
class CrossEntropy:
    """The mean over the positives of log Σ exp(score of every label) − score; the loss of the kit."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        logits_P, log_all_Q = inputs.log_sum_exp("all")
        return inputs.sum_over_positives(log_all_Q[inputs.positive_rows_P] - logits_P, mean=True)


@dataclass(frozen=True)
class HeadCase:
    """A head's options with the loss, and the options of the encoder, that it is tried with."""

    options: HeadOptions
    loss: Loss
    encoder_options: Any

    @classmethod
    def of(cls, options: HeadOptions, loss: Loss | None, encoder: Any) -> HeadCase:
        """The case with what the kit takes where nothing is given."""
        static = StaticOptions(dimension=8, vocabulary_size=300, similarity="dot")
        return cls(options, loss or CrossEntropy(), encoder or static)

    def encoder(self) -> Any:
        """A new encoder, the same each time."""
        return self.encoder_options.build(QUERIES, LABELS, seed=0)

    def context(self, encoder: Any, *, trains: bool = True) -> HeadContext:
        """What a head is built from: to be trained, or to read a trained one."""
        train = TrainOptions(
            epochs=1, batch_size=len(QUERIES), label_chunk=4, precision="float32", seed=SEED, device="cpu"
        )
        return HeadContext(
            labels=len(LABELS),
            dimension=encoder.dimension,
            similarity=encoder.similarity,
            seed=SEED,
            loss=self.loss if trains else None,
            encoder=encoder,
            label_features=encoder.prepare(LABELS, "label"),
            train=train if trains else None,
        )

    @cached_property
    def positives(self) -> Positives:
        """Which labels are relevant to which query, by weights of 1 to 3; to one of them none is."""
        offsets = offsets_of([len(rows) for rows in RELEVANT])
        rows = np.array([row for rows in RELEVANT for row in rows], np.int32)
        return Positives(offsets, rows, 1 + rows.astype(np.float32) % 3)

    @cached_property
    def relevance_QL(self) -> Tensor:
        """The same as a dense matrix."""
        relevance_QL = torch.zeros(len(QUERIES), len(LABELS))
        relevance_QL[self.positives.query_rows(), self.positives.label_rows] = torch.from_numpy(self.positives.weights)
        return relevance_QL


class Training:
    """A head of a case in training, with its encoder."""

    def __init__(self, case: HeadCase, encoder: Any = None) -> None:
        self.case = case
        self.encoder = encoder or case.encoder()
        self.head: Head = case.options.build(case.context(self.encoder))  # type: ignore[assignment]
        self.steps = 0

    def queries(self) -> Tensor:
        """The embedded queries, (Q, D)."""
        return query_embeddings(self.encoder)

    def learn(self, queries_QD: Tensor | None = None) -> Learned:
        """One `learn`, of the queries as they are embedded unless others are given."""
        batch = HeadBatch(self.steps, np.arange(len(QUERIES)), self.case.positives)
        return self.head.learn(self.queries() if queries_QD is None else queries_QD, batch)

    def step(self, share: float = 1.0, *, encoder_rate: float = 0.0) -> Tensor:
        """One whole step; the loss of each query before it, (Q,)."""
        losses_Q = self.learn().losses_Q.detach().clone()
        for parameter in self.encoder.module.parameters():
            if parameter.grad is not None:
                with torch.no_grad():
                    parameter -= encoder_rate * parameter.grad
                parameter.grad = None
        self.head.update(share)
        self.steps += 1
        return losses_Q


def query_embeddings(encoder: Any) -> Tensor:
    """The queries of the kit as an encoder embeds them, (Q, D), without gradient."""
    with torch.no_grad():
        embeddings_QD: Tensor = encoder.embed(encoder.prepare(QUERIES, "query"), "query")
    return embeddings_QD.to_dense().clone()


def vectors_of(head: FittedHead, rows: Any = None) -> Tensor:
    """The index vectors of label rows (all of them), (N, E), dense."""
    label_rows = np.arange(len(LABELS)) if rows is None else np.array(rows, dtype=np.int64)
    return torch.cat([chunk.detach().to_dense() for chunk in head.label_vectors(label_rows)]).clone()


def scores_of(head: FittedHead, queries_QD: Tensor) -> Tensor:
    """The scores that an index of the head's vectors gives, (Q, L)."""
    mapped = head.query_map()
    if mapped is None:
        return queries_QD @ vectors_of(head).T
    return mapped.queries(queries_QD) @ vectors_of(head).T + mapped.offsets(queries_QD)[:, None]
