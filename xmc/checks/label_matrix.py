"""The label vectors of an index in memory, with what certificates ask of them again and again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.errors import ConfigError


@dataclass(frozen=True, eq=False)
class LabelMatrix:
    """The vectors (L, D) float32 that queries are compared with by scalar product, in the order of the index."""

    labels_LD: Tensor

    @classmethod
    def of(cls, retriever: Any) -> LabelMatrix:
        """The vectors of a retriever's labels, made again from its model.

        Raises: ConfigError for a head that turns queries into others before it searches.
        """
        from xmc.encode.encoder import embed_texts

        if hasattr(retriever, "model"):
            chunks, query_map = retriever.model.label_vectors(retriever.labels)
            if query_map is not None:
                raise ConfigError("this run's head maps queries before the search; certificates do not cover that yet.")
            labels_LD = torch.cat([chunk.detach().float() for chunk in chunks])
        else:
            labels_LD = embed_texts(retriever.encoder, retriever.labels.texts, "label")
        if retriever.encoder.similarity == "cosine":
            labels_LD = torch.nn.functional.normalize(labels_LD, dim=1)
        return cls(labels_LD)

    def __len__(self) -> int:
        return len(self.labels_LD)

    def take(self, label_rows: NDArray[np.int64]) -> Tensor:
        """The vectors of some rows."""
        return self.labels_LD[torch.from_numpy(label_rows)]

    @cached_property
    def norms_L(self) -> NDArray[np.float64]:
        """Their lengths."""
        return np.asarray(torch.linalg.vector_norm(self.labels_LD, dim=1, dtype=torch.float64).numpy())

    @cached_property
    def largest_norm(self) -> float:
        """The greatest of them."""
        return float(self.norms_L.max())

    @cached_property
    def twins_L(self) -> NDArray[np.int64]:
        """A number for each label that it shares with the labels of the very same vector."""
        rows = np.ascontiguousarray(self.labels_LD.numpy() + np.float32(0))  # -0.0 and 0.0 are the same number
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
        return np.asarray(np.unique(keys, return_inverse=True)[1])
