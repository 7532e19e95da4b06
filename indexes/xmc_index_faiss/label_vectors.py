"""Where a built index has the vectors of its labels: in the faiss index itself, or in a matrix beside it.

Shapes: L labels, D width, N rows asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xmc.api import DataError
from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.score_error import ScoreError, norms


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
    """A matrix (L, D) float32 beside a faiss index of codes; a `largest_norm` that is not given is looked for."""

    matrix_LD: np.ndarray[Any, Any]
    largest_norm: float | None = None
    true: bool = True

    def take(self, label_rows_N: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Rows of the matrix."""
        return self.matrix_LD[label_rows_N]

    def scores(self, queries_QD: np.ndarray[Any, Any], rows_QM: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Float32 products of each query with its rows where they lie, on all threads, (Q, M); -inf for a row of -1."""
        faiss = import_faiss()
        scores_QM = np.empty(rows_QM.shape, np.float32)
        arrays = (scores_QM, np.ascontiguousarray(queries_QD), self.matrix_LD, np.ascontiguousarray(rows_QM, np.int64))
        pointers = (faiss.swig_ptr(array) for array in arrays)
        faiss.fvec_inner_products_by_idx(*pointers, queries_QD.shape[1], *rows_QM.shape)
        return scores_QM

    @cached_property
    def longest(self) -> float:
        """The norm of the longest vector, in float64."""
        if self.largest_norm is not None:
            return self.largest_norm
        return float(norms(self.matrix_LD).max())

    @cached_property
    def score_error(self) -> ScoreError:
        """How far `scores` can be from the true ones."""
        return ScoreError.rounding(self.matrix_LD.shape[1], self.longest)


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
