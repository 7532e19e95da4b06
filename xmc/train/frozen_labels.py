"""Labels whose vectors a teacher made: they stay as they are, byte for byte, and only the queries' encoder learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from xmc.api import ConfigError, HeadContext
from xmc.counted import counted
from xmc.encode.encoder import chunks
from xmc.train.scored_head import ScoredHead

ROWS_AT_ONCE = 65536
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class FrozenLabelsOptions:
    """The label vectors of [teacher], as they are; there is nothing to set.

    An encoder of the teacher's width learns to put queries among them. Labels can be added to a finished run by giving
    their vectors (`xmc.LabelEditor`), made by the same teacher.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher_vectors"})

    def build(self, context: HeadContext) -> ScoredHead:
        """A head over the teacher's vectors. Raises: ConfigError when there are none or they do not fit the encoder."""
        if context.train is not None:
            _require_vectors(context)
        return ScoredHead(FrozenLabels, context)


class FrozenLabels:
    """Rows of a fixed matrix as a `LabelSource`; of a run that is opened the state is loaded next."""

    def __init__(self, context: HeadContext) -> None:
        given = context.teacher_vectors
        shape = context.labels, context.dimension
        fits = (
            given is not None and tuple(given.shape) == shape
        )  # one of several ranks has a share, filled by its state
        self.matrix_LD: Tensor = given.to(context.device) if fits else torch.zeros(shape, device=context.device)

    def parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def vectors(self, label_rows: np.ndarray[Any, Any] | None) -> FixedVectors:
        """Vectors of these labels (None = all)."""
        if label_rows is None:
            return FixedVectors(self.matrix_LD)
        return FixedVectors(self.matrix_LD[torch.from_numpy(label_rows).to(self.matrix_LD.device)])

    def chunks(self, label_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        """Vectors of these labels."""
        for rows in chunks(len(label_rows), ROWS_AT_ONCE):
            yield self.matrix_LD[torch.from_numpy(label_rows[rows]).to(self.matrix_LD.device)]

    def observe(self, queries_QD: Tensor) -> None:
        """Nothing to see: the vectors stay."""

    def update(self, learning_rate_share: float) -> None:
        """Nothing."""

    def state(self) -> dict[str, Tensor]:
        """The matrix."""
        return {"matrix": self.matrix_LD}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self.matrix_LD = state["matrix"].to(self.matrix_LD.device)


@dataclass
class FixedVectors:
    """Vectors (C, D) that learn nothing."""

    embeddings_ND: Tensor

    def backward(self, gradient_ND: Tensor) -> None:
        """Nothing."""


def _require_vectors(context: HeadContext) -> None:
    vectors_LE = context.teacher_vectors
    if vectors_LE is None:
        raise ConfigError(
            "head 'frozen' takes the label vectors of a teacher, and [teacher] has none.",
            hint="Make them with `xmc teach`, and set teacher.path to its folder.",
        )
    if vectors_LE.shape[1] != context.dimension:
        raise ConfigError(
            f"the teacher's label vectors have {counted(vectors_LE.shape[1], 'dimension')}, the encoder's embeddings "
            f"{context.dimension}.",
            hint=f"Set encoder.dimension={vectors_LE.shape[1]}.",
        )
    lengths_L = vectors_LE.norm(dim=1)
    if context.similarity == "cosine" and bool(((lengths_L - 1).abs() > UNIT_TOLERANCE).any()):
        raise ConfigError(
            "the encoder's similarity is cosine, but the teacher's label vectors do not have length 1 "
            f"({float(lengths_L.min()):.3g} to {float(lengths_L.max()):.3g}), and stay as they are.",
            hint="Set encoder.similarity=dot.",
        )
