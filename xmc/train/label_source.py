"""Where the vectors of labels come from, and where their gradient goes: what a `ScoredHead` is built over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

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

    def observe(self, queries_QD: Tensor) -> None:
        """See the embeddings of a step's queries, all of them, before `update`."""

    def update(self, learning_rate_share: float) -> None:
        """Apply the gradient that `vectors(…).backward` left on `parameters`."""

    def state(self) -> dict[str, Tensor]:
        """Parameters and the state of their optimiser."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
