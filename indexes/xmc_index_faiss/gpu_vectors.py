"""The full label vectors in the memory of a GPU, to score there again what its index found.

Shapes: L labels, D width, N rows asked for, Q queries, M candidates, K wanted, P (query, candidate) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import dot_pairs
from xmc_index_faiss.label_vectors import LabelVectors

GPU_SLICE_BYTES = 256 << 20  # of the vectors of pairs, their float64 products included, at a time
FEWEST_ON_GPU = 512  # pairs; fewer are scored by the CPU in the time that a GPU takes to start the steps
_BYTES_OF_PAIR = 32  # for each number: query and label in float32, both and their product in float64
_ROWS_AT_A_TIME = 16_384


@dataclass(frozen=True, eq=False)
class GpuVectors:
    """A copy (L, D) float32 of the true vectors on a GPU (or, for tests, on the CPU)."""

    matrix_LD: Tensor

    @classmethod
    def copy(cls, vectors: LabelVectors, shape: tuple[int, int], number: int) -> GpuVectors | None:
        """The vectors, (L, D), on this GPU; None where torch has none or they would take over half of what is free.

        Answers are the same without: the CPU scores then.
        """
        if number >= torch.cuda.device_count():
            return None
        free_bytes, _ = torch.cuda.mem_get_info(number)
        if 2 * 4 * shape[0] * shape[1] > free_bytes:
            return None
        try:
            matrix_LD = torch.empty(*shape, device=f"cuda:{number}")
        except torch.OutOfMemoryError:  # what was free a moment ago, another program has taken
            return None
        for start in range(0, shape[0], _ROWS_AT_A_TIME):
            rows = np.arange(start, min(shape[0], start + _ROWS_AT_A_TIME))
            matrix_LD[start : start + len(rows)].copy_(torch.from_numpy(vectors.take(rows)))
        return cls(matrix_LD)

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.matrix_LD.device

    def gather(self, label_rows_N: Tensor) -> Tensor:
        """Rows of the matrix, where they lie."""
        return self.matrix_LD.index_select(0, label_rows_N.to(self.device))

    def best(
        self, queries_QD: np.ndarray[Any, Any], rows_QM: np.ndarray[Any, Any], k: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Scores and rows (Q, K) of the best k candidates by their true scores, as `best_rescored` finds them.

        Naive: all pairs by `dot_pairs`, then sort by (-score, row); places without a candidate (-1) are last.
        """
        queries, rows = torch.from_numpy(queries_QD).to(self.device), torch.from_numpy(rows_QM).to(self.device)
        step = max(1, GPU_SLICE_BYTES // max(1, _BYTES_OF_PAIR * rows.shape[1] * queries.shape[1]))
        parts = [self._best(*part, k) for part in zip(queries.split(step), rows.split(step), strict=True)]
        scores_QK, rows_QK = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return scores_QK, rows_QK

    def _best(self, queries_QD: Tensor, rows_QM: Tensor, k: int) -> tuple[Tensor, Tensor]:
        rows_QM = rows_QM.sort(dim=1).values
        vectors_PD = self.gather(rows_QM.clamp(min=0).flatten())
        scores_P = dot_pairs(queries_QD.repeat_interleave(rows_QM.shape[1], dim=0), vectors_PD)
        scores_QM = scores_P.float().view(rows_QM.shape).masked_fill(rows_QM < 0, -torch.inf)
        order_QK = scores_QM.argsort(dim=1, descending=True, stable=True)[:, :k]
        return scores_QM.gather(1, order_QK), rows_QM.gather(1, order_QK)
