"""The head that scores queries against label vectors: choose labels, make their vectors, score, send gradients back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from xmc.api import HeadBatch, HeadContext, Learned, QueryMap
from xmc.train.label_scope import Scope, all_labels, sampled_labels
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
        self.update = source.update
        self.label_vectors = source.chunks
        self.state = source.state
        self.load_state = source.load_state

    def learn(self, queries_QD: Tensor, batch: HeadBatch) -> Learned:
        """Score the batch against the labels of `[train] label_scope`.

        Raises: NonFiniteError naming the batch rows; ConfigError when a `batch` loss needs more memory than allowed.
        """
        context, options = self._context, self._context.train
        scope = self._scope(batch).to(queries_QD.device)
        labels = self.source.vectors(scope.label_rows)
        scored = score_batch(
            queries_QD,
            labels.embeddings_ND,
            scope.pairs,
            context.loss,
            pool=context.pool,
            rows_at_once=rows_in_memory(len(labels.embeddings_ND), options.score_memory_mb, pool=context.pool),
            log_inclusion_C=scope.log_inclusion_C,
        )
        labels.backward(scored.labels_gradient_CD)
        return Learned(scored.losses_Q, scored.queries_gradient_QD)

    def query_map(self) -> QueryMap | None:
        """None: the index is asked for the embeddings as they are."""
        return None

    def _scope(self, batch: HeadBatch) -> Scope:
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
