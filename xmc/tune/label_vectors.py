"""The vectors of all labels, made once and then read by every build and by the exact reference."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.counted import counted
from xmc.errors import ConfigError, DataError
from xmc.vectors import validate_vectors

IN_MEMORY_BYTES = 64 << 20  # above it they lie in a nameless file, which the system may drop from memory
_CHUNK = 8192


@dataclass(frozen=True, eq=False)
class LabelVectors:
    """A matrix (L, E) of float32, as the index gets it; of similarity `dot` or `cosine`."""

    matrix_LE: np.ndarray[Any, Any]
    similarity: str

    def __len__(self) -> int:
        return len(self.matrix_LE)

    @property
    def dimension(self) -> int:
        """E."""
        return int(self.matrix_LE.shape[1])

    def chunks(self, size: int = 0) -> Iterator[Tensor]:
        """The vectors in their order, `size` at a time (0: 8,192)."""
        size = size or _CHUNK
        for start in range(0, len(self), size):
            yield torch.from_numpy(np.ascontiguousarray(self.matrix_LE[start : start + size]))

    def take(self, label_rows: np.ndarray[Any, Any]) -> Tensor:
        """The vectors of some labels."""
        return torch.from_numpy(self.matrix_LE[label_rows])

    def sample(self, count: int, *, seed: int) -> LabelVectors:
        """So many of the labels, drawn without replacement, in their order."""
        label_rows = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return LabelVectors(self.matrix_LE[np.sort(label_rows)], self.similarity)


def keep_vectors(chunks: Iterable[Tensor], *, labels: int, similarity: str, folder: Path | None = None) -> LabelVectors:
    """Collect chunks (n, E) of `labels` vectors; many go to a nameless file in `folder`.

    Raises: DataError when there is none or the number is another one; ConfigError for sparse vectors.
    """
    matrix_LE: np.ndarray[Any, Any] | None = None
    rows = 0
    for chunk in chunks:
        if chunk.layout != torch.strided:
            raise ConfigError(
                "an index is chosen by goal among those of dense vectors, and this run's vectors are sparse.",
                hint="Name its index: --set index.name=NAME",
            )
        width = None if matrix_LE is None else matrix_LE.shape[1]
        vectors = validate_vectors(chunk, what="label", dimension=width, first_row=rows).cpu().numpy()
        if matrix_LE is None:
            matrix_LE = _empty(labels, vectors.shape[1], folder)
        if rows + len(vectors) <= labels:
            matrix_LE[rows : rows + len(vectors)] = vectors
        rows += len(vectors)
    if matrix_LE is None or rows != labels or rows == 0:
        raise DataError(
            f"there are {counted(rows, 'label vector')} for {counted(labels, 'label')}.",
            hint="Is the label table empty?",
        )
    return LabelVectors(matrix_LE, similarity)


def _empty(labels: int, dimension: int, folder: Path | None) -> np.ndarray[Any, Any]:
    if 4 * labels * dimension <= IN_MEMORY_BYTES:
        return np.empty((labels, dimension), np.float32)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the array that is mapped on it
    return np.memmap(file, np.float32, "w+", shape=(labels, dimension))
