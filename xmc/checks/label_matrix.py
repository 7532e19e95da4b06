"""The label vectors of an index in memory, with what certificates ask of them again and again.

Shapes: L labels, D width of an embedding, E width of an index query.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.checks.brute_force import row_norms
from xmc.checks.rounding import LabelNorms
from xmc.errors import ConfigError
from xmc.fixed_order import normalise_rows


@dataclass(frozen=True, eq=False)
class LabelMatrix:
    """The vectors (L, D) float32 that embeddings are compared with by scalar product, in the order of the index.

    A head that asks its index for M h compares h with Mᵀ u for the index's vector u; what it adds to every score of a
    query changes no list. Its vectors `index_LE`, and `mapped_longest` of the two steps, are then others than these.
    """

    labels_LD: Tensor
    index_LE: Tensor | None = None
    mapped_longest: LabelNorms | None = None

    @classmethod
    def of(cls, retriever: Any) -> LabelMatrix:
        """The vectors of a retriever's labels, made again from its model.

        Raises: ConfigError for sparse vectors.
        """
        chunks, query_map = retriever.model.label_vectors(retriever.labels)
        parts = [chunk.detach().float() for chunk in chunks]
        if any(part.layout != torch.strided for part in parts):
            raise ConfigError("this run's label vectors are sparse, and certificates need dense ones.")
        labels_LD = torch.cat(parts)
        if query_map is not None:
            return cls.mapped(labels_LD, query_map.matrix_ED)
        if retriever.encoder.similarity == "cosine":
            labels_LD = normalise_rows(labels_LD)  # bit by bit as an index has them: what ties there is a twin here
        return cls(labels_LD)

    @classmethod
    def mapped(cls, labels_LE: Tensor, matrix_ED: Tensor) -> LabelMatrix:
        """The vectors that stand for an index over `labels_LE` that is asked for `matrix_ED @ h`."""
        labels_LD = (labels_LE.double() @ matrix_ED.double()).float()
        # |fl(u . fl(M h)) - u . M h| grows with |u| ‖M‖ ‖h‖ and with both widths, however short Mᵀ u is
        longest = (1 + labels_LE.shape[1] / labels_LD.shape[1]) * float(row_norms(labels_LE).max())
        growth = float(torch.linalg.norm(matrix_ED.double()))
        return cls(labels_LD, labels_LE, LabelNorms(longest * growth, longest))

    def __len__(self) -> int:
        return len(self.labels_LD)

    def take(self, label_rows: NDArray[np.int64]) -> Tensor:
        """The vectors of some rows."""
        return self.labels_LD[torch.from_numpy(label_rows)]

    @cached_property
    def norms_L(self) -> NDArray[np.float64]:
        """Their lengths."""
        return row_norms(self.labels_LD)

    @cached_property
    def largest_norm(self) -> float:
        """The greatest of them."""
        return float(self.norms_L.max())

    @property
    def longest(self) -> LabelNorms:
        """The lengths that bound the errors of a score."""
        return self.mapped_longest or LabelNorms(self.largest_norm, self.largest_norm)

    @cached_property
    def twins_L(self) -> NDArray[np.int64]:
        """A number for each label that it shares with the labels of the very same vector in the index."""
        vectors = self.labels_LD if self.index_LE is None else self.index_LE
        rows = np.ascontiguousarray(vectors.numpy() + np.float32(0))  # -0.0 and 0.0 are the same number
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
        return np.asarray(np.unique(keys, return_inverse=True)[1])
