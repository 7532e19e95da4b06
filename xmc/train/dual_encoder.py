"""The dual encoder: a label is its text, embedded as the queries are, so that new labels need no training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from xmc.api import HeadContext
from xmc.encode.encoder import Encoder, Features, embed_chunks
from xmc.train.gradient_cache import embed_with_gradient
from xmc.train.label_source import GradientVectors
from xmc.train.scored_head import ScoredHead

DEFAULT_CHUNK = 256


@dataclass(frozen=True)
class DualEncoderOptions:
    """The dual encoder has no options of its own."""

    def build(self, context: HeadContext) -> ScoredHead:
        """A head without state: all that learns is the encoder."""
        return ScoredHead(TextLabels.of, context)


class TextLabels:
    """The labels' embedded texts as a `LabelSource`; their parameters are the encoder's.

    `passes` is how often a step asks for `vectors`, on all processes together.
    """

    def __init__(
        self,
        encoder: Encoder,
        features: Features,
        *,
        chunk_size: int = DEFAULT_CHUNK,
        precision: str = "float32",
        passes: int = 1,
    ) -> None:
        self._encoder, self._features, self._chunk_size, self._precision = encoder, features, chunk_size, precision
        self._passes = passes

    @classmethod
    def of(cls, context: HeadContext) -> TextLabels:
        """The texts of a context, embedded in chunks of `[train] label_chunk`."""
        if context.train is None:
            return cls(context.encoder, context.label_features)
        options = context.train
        batches = 1 if options.scores_all_labels else options.accumulate
        return cls(
            context.encoder,
            context.label_features,
            chunk_size=options.label_chunk,
            precision=options.precision,
            passes=batches * (context.ranks.size if context.ranks else 1),
        )

    def parameters(self) -> list[nn.Parameter]:
        """None of its own."""
        return []

    def vectors(self, label_rows: np.ndarray[Any, Any] | None) -> GradientVectors:
        """Embeddings of these labels' texts (None = all), with gradient."""
        features = self._features if label_rows is None else self._features.take(label_rows)
        return embed_with_gradient(
            self._encoder,
            features,
            "label",
            chunk_size=self._chunk_size,
            precision=self._precision,
            passes=self._passes,
        )

    def chunks(self, label_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        """Embeddings of these labels' texts, without gradient."""
        return embed_chunks(self._encoder, self._features.take(label_rows), "label")

    def observe(self, queries_QD: Tensor) -> None:
        """Nothing to see: the labels' vectors are the encoder's."""

    def update(self, learning_rate_share: float) -> None:
        """Nothing: the trainer updates the encoder."""

    def state(self) -> dict[str, Tensor]:
        """Nothing beside the encoder."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to take over."""
