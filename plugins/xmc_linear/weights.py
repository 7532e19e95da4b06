"""The weights of a linear model: what is saved, and what an index is built of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from xmc.api import QueryMap

ROWS_AT_ONCE = 4096


@dataclass(eq=False)
class LinearWeights:
    """A sparse vector of weights for each label, (L, F) SciPy CSR, float32: a `FittedHead`."""

    weights_LF: Any

    def label_vectors(self, label_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        """The weights of these labels in CSR tensors of at most 4,096 rows."""
        chosen = self.weights_LF[label_rows]
        for start in range(0, chosen.shape[0], ROWS_AT_ONCE):
            yield to_csr_tensor(chosen[start : start + ROWS_AT_ONCE])

    def query_map(self) -> QueryMap | None:
        """None: the index is asked for the features as they are."""
        return None

    def state(self) -> dict[str, Tensor]:
        """The weights as plain tensors: offsets (L + 1,), features and weights (non-zeros,), shape (2,)."""
        matrix = self.weights_LF
        return {
            "offsets": torch.from_numpy(matrix.indptr.astype(np.int64)),
            "features": torch.from_numpy(matrix.indices.astype(np.int32)),
            "weights": torch.from_numpy(matrix.data.astype(np.float32)),
            "shape": torch.tensor(matrix.shape, dtype=torch.int64),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave. Raises: ValueError when the parts do not fit together."""
        self.weights_LF = self.from_state(state).weights_LF

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> LinearWeights:
        """What `state` gave. Raises: ValueError when the parts do not fit together."""
        parts = tuple(state[name].numpy() for name in ("weights", "features", "offsets"))
        rows, columns = state["shape"].tolist()
        weights_LF = scipy.sparse.csr_matrix(parts, shape=(rows, columns))
        weights_LF.check_format(full_check=True)
        return cls(weights_LF)


def to_csr_tensor(matrix_NF: Any) -> Tensor:
    """A SciPy CSR matrix as a torch CSR tensor over the same memory."""
    offsets, columns, values = (
        torch.from_numpy(part) for part in (matrix_NF.indptr, matrix_NF.indices, matrix_NF.data)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)  # torch calls its CSR "beta"
        return torch.sparse_csr_tensor(offsets, columns, values, matrix_NF.shape)
