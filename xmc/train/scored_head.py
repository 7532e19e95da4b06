"""The head that scores queries against label vectors: choose labels, make their vectors, score, send gradients back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from xmc.api import HeadBatch, HeadContext, Learned, QueryMap, RowStateLoss
from xmc.train.label_scope import Scope, all_labels, sampled_labels
from xmc.train.positive_sampling import STREAM, draw_positives, keep_drawn, require_skips
from xmc.train.row_state import STATE_NAME, RowState
from xmc.train.schedule import step_generator
from xmc.train.scorer import rows_in_memory, score_batch

IntArray = np.ndarray[Any, Any]


class GradientVectors(Protocol):
    """Vectors (C, D) of some labels, detached, whose gradient can be sent back later."""

    embeddings_ND: Tensor

    def backward(self, gradient_ND: Tensor) -> None:
        """Add the gradient to that of the parameters they were made of."""


class LabelSource(Protocol):
    """Makes the labels' vectors: from their texts, from a trained matrix, or from both."""

    def parameters(self) -> list[nn.Parameter]:
        """Parameters that are not the encoder's."""

    def vectors(self, label_rows: IntArray | None) -> GradientVectors:
        """Vectors of these labels (None = all), with gradient."""

    def chunks(self, label_rows: IntArray) -> Iterator[Tensor]:
        """Vectors of these labels without gradient, in bounded memory."""

    def update(self, learning_rate_share: float) -> None:
        """Apply the gradient that `vectors(…).backward` left on `parameters`."""

    def state(self) -> dict[str, Tensor]:
        """Parameters and the state of their optimiser."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""


class ScoredHead:
    """A `Head` over any source of label vectors and any loss, exact in bounded memory (see `score_batch`)."""

    def __init__(self, source: LabelSource, context: HeadContext) -> None:
        self.source = source
        self._context = context
        self.parameters = source.parameters
        self.label_vectors = source.chunks
        loss = context.loss
        if context.train and context.train.sampled_positives:
            require_skips(loss)
        self._row_state = RowState(loss, device=context.device) if isinstance(loss, RowStateLoss) else None

    def learn(self, queries_QD: Tensor, batch: HeadBatch) -> Learned:
        """Score the batch against the labels of `[train] label_scope`.

        Raises: NonFiniteError naming the batch rows; ConfigError when a `batch` loss needs more memory than allowed.
        """
        context, options = self._context, self._context.train
        scope = self._scope(batch).to(queries_QD.device)
        labels, row_state = self.source.vectors(scope.label_rows), self._row_state
        scored = score_batch(
            queries_QD,
            labels.embeddings_ND,
            scope.pairs,
            context.loss,
            pool=context.pool,
            rows_at_once=rows_in_memory(len(labels.embeddings_ND), options.score_memory_mb, pool=context.pool),
            log_inclusion_C=scope.log_inclusion_C,
            row_state_Q=row_state.before(batch.query_rows_Q) if row_state else None,
        )
        if row_state and scored.row_state_Q is not None:
            row_state.keep(batch.query_rows_Q, scored.row_state_Q)
        labels.backward(scored.labels_gradient_CD)
        return Learned(scored.losses_Q, scored.queries_gradient_QD)

    def update(self, learning_rate_share: float) -> None:
        """Apply the labels' gradient, and what the loss keeps for each query."""
        self.source.update(learning_rate_share)
        if self._row_state:
            self._row_state.commit()

    def state(self) -> dict[str, Tensor]:
        """The labels' state, and what the loss keeps for each query."""
        return {**self.source.state(), **(self._row_state.state() if self._row_state else {})}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        if self._row_state:
            self._row_state.load_state(state)
        self.source.load_state({name: value for name, value in state.items() if name != STATE_NAME})

    def query_map(self) -> QueryMap | None:
        """None: the index is asked for the embeddings as they are."""
        return None

    def _scope(self, batch: HeadBatch) -> Scope:
        scope, sample = self._all_positives(batch), self._context.train.sampled_positives
        if not sample:
            return scope
        generator = step_generator(batch.step, self._context.train, stream=STREAM)
        drawn_P = draw_positives(batch.positives, sample=sample, generator=generator)
        return replace(scope, pairs=keep_drawn(scope.pairs, batch.positives, drawn_P, sample=sample))

    def _all_positives(self, batch: HeadBatch) -> Scope:
        options, positives = self._context.train, batch.positives
        if options.label_scope == "all":
            return all_labels(positives)
        generator = step_generator(batch.step, options)
        return sampled_labels(
            positives,
            labels=self._context.labels,
            sample=options.sampled_labels,
            generator=generator,
            hard_negatives=batch.hard_negatives,
        )
