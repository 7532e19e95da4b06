"""Where a built index has the vectors of its labels: in the faiss index itself, or in a matrix beside it.

Shapes: L labels, D width, N rows asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xmc.api import DataError


class GatheredVectors(Protocol):
    """Vectors of labels that are brought together where they lie."""

    @property
    def device(self) -> torch.device:
        """Where `gather` brings them together."""

    def gather(self, label_rows_N: Tensor) -> Tensor:
        """The vectors of these rows, (N, D) float32, for rows that lie on `device`."""


class LabelVectors(GatheredVectors, Protocol):
    """Vectors of labels by row; `true` when they are the very vectors that were indexed."""

    @property
    def true(self) -> bool:
        """Whether nothing was lost to a codec."""

    def take(self, label_rows_N: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The vectors of these rows, (N, D) float32, a copy."""


class _OnHost:
    """Vectors in the memory of the host."""

    device = torch.device("cpu")

    def gather(self: LabelVectors, label_rows_N: Tensor) -> Tensor:
        """`take` as a tensor."""
        return torch.from_numpy(self.take(label_rows_N.numpy()))


@dataclass(frozen=True, eq=False)
class HeldVectors(_OnHost):
    """A matrix (L, D) float32 beside a faiss index of codes."""

    matrix_LD: np.ndarray[Any, Any]
    true: bool = True

    def take(self, label_rows_N: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Rows of the matrix."""
        return self.matrix_LD[label_rows_N]


@dataclass(frozen=True, eq=False)
class FaissVectors(_OnHost):
    """What faiss can give back of the vectors: themselves from a flat storage, approximations from codes."""

    faiss_index: Any
    true: bool

    def take(self, label_rows_N: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Rows reconstructed by faiss.

        Raises: DataError when this kind of index cannot.
        """
        try:
            vectors_ND: np.ndarray[Any, Any] = self.faiss_index.reconstruct_batch(label_rows_N)
        except RuntimeError as error:
            raise DataError(
                f"{type(self.faiss_index).__name__} cannot give back the vectors of its labels, as this search wants.",
                hint="Search among all labels, or use 'exact', 'faiss.ivf' or 'faiss.hnsw'.",
            ) from error
        return vectors_ND
