"""How well a label of a cell can score at best: what proves that cells were rightly left out.

Shapes: Q queries, C cells, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from xmc_index_faiss.label_vectors import LabelVectors
from xmc_index_faiss.saved import Kind

_SLACK = 1e-9  # of the product of the norms; sums of D terms in float64 err by less than D x 1.2e-16 of it


@dataclass(frozen=True, eq=False)
class CellBounds:
    """Of each cell c: where its vectors v lie.

    `centres_CD` is their mean u, `radii_C` the largest |v - u|; along the direction of u they reach from `least_C` to
    `most_C`; `norms_C` is the largest |v|, -1 for a cell without labels, `errors_C` the largest |v - its code|.
    """

    centres_CD: np.ndarray[Any, Any]
    radii_C: np.ndarray[Any, Any]
    least_C: np.ndarray[Any, Any]
    most_C: np.ndarray[Any, Any]
    norms_C: np.ndarray[Any, Any]
    errors_C: np.ndarray[Any, Any]

    @classmethod
    def of(cls, index: Any, vectors: LabelVectors) -> CellBounds:
        """Look at every label of a faiss IVF index once; `vectors` are the true ones."""
        import faiss

        bounds = cls(np.zeros((index.nlist, index.d), np.float32), *(np.zeros(index.nlist) for _ in range(5)))
        bounds.norms_C[:] = -1
        for cell in range(index.nlist):
            size = index.invlists.list_size(cell)
            if size:
                rows = faiss.rev_swig_ptr(index.invlists.get_ids(cell), size).copy()
                bounds._set(cell, vectors.take(rows).astype(np.float64))
                if index.code_size < 4 * index.d:
                    lost_ND = vectors.take(rows).astype(np.float64) - index.reconstruct_batch(rows)
                    bounds.errors_C[cell] = np.sqrt((lost_ND**2).sum(1)).max()
        return bounds

    def _set(self, cell: int, vectors_ND: np.ndarray[Any, Any]) -> None:
        self.centres_CD[cell] = vectors_ND.mean(0)
        norm = float(np.linalg.norm(self.centres_CD[cell].astype(np.float64)))
        along_N = vectors_ND @ self.centres_CD[cell].astype(np.float64) / (norm or 1.0)
        self.norms_C[cell] = np.sqrt((vectors_ND**2).sum(1)).max()
        self.radii_C[cell] = np.sqrt(((vectors_ND - self.centres_CD[cell]) ** 2).sum(1)).max()
        self.least_C[cell], self.most_C[cell] = along_N.min(), along_N.max()

    @classmethod
    def kinds(cls, cells: int, dimension: int) -> dict[str, Kind]:
        """Dtype and shape of each field."""
        rest: dict[str, Kind] = {field.name: ("float64", (cells,)) for field in fields(cls)}
        return {**rest, "centres_CD": ("float32", (cells, dimension))}

    def to_arrays(self) -> dict[str, Any]:
        """Name and array of each field, of which it can be made again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def best_scores(self, queries_QD: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """No label of the cell has a higher score with the query: float64 (Q, C), -inf for an empty cell.

        The smaller of two bounds. The ball: `q.u + |q| r`. The cap, which is the tighter one for unit vectors: with
        `c = q.u/|u|` and `s = sqrt(|q|^2 - c^2)` a member that reaches `a` along u scores at most
        `a c + s sqrt(R^2 - a^2)`, R the largest norm; that is concave in a, so its best over [least, most] is at the
        free optimum `a = R c / |q|` or at the end nearest to it. What is rounded is rounded up.
        """
        queries, centres_CD = queries_QD.astype(np.float64), self.centres_CD.astype(np.float64)
        centre_norms_C = np.sqrt((centres_CD**2).sum(1))
        squares_Q1 = (queries**2).sum(1, keepdims=True)
        norms_Q1 = np.sqrt(squares_Q1)
        along_QC = queries @ (centres_CD / np.where(centre_norms_C > 0, centre_norms_C, 1.0)[:, None]).T
        ball_QC = along_QC * centre_norms_C + norms_Q1 * self.radii_C
        best_QC = np.minimum(ball_QC, self._cap(along_QC, squares_Q1, norms_Q1))
        largest_C = np.maximum(self.norms_C, 0)
        best_QC += _SLACK * norms_Q1 * (largest_C + centre_norms_C + self.radii_C)
        best_QC[:, self.norms_C < 0] = -np.inf
        return best_QC

    def _cap(self, along_QC: Any, squares_Q1: Any, norms_Q1: Any) -> np.ndarray[Any, Any]:
        tiny = (self.centres_CD.shape[1] + 16) * 2.0**-50
        largest_C = np.maximum(self.norms_C, 0)
        across_QC = np.sqrt(np.maximum(squares_Q1 - along_QC**2, 0) + tiny * squares_Q1)
        least_C, most_C = self.least_C - 1e-12 * largest_C, self.most_C + 1e-12 * largest_C
        free_QC = largest_C * along_QC / np.where(norms_Q1 > 0, norms_Q1, 1.0)
        reach_QC = np.clip(free_QC, least_C, most_C)
        rest_QC = np.sqrt(np.maximum(largest_C**2 - reach_QC**2, 0) + tiny * largest_C**2)
        cap_QC = reach_QC * along_QC + across_QC * rest_QC
        inside_QC = (free_QC > least_C) & (free_QC < most_C)
        whole_QC = largest_C * np.sqrt(1 + tiny) * np.sqrt(along_QC**2 + across_QC**2)
        return np.where(inside_QC, whole_QC, cap_QC)

    @cached_property
    def largest_norm(self) -> float:
        """Of any vector."""
        return float(self.norms_C.max(initial=0))

    @property
    def largest_error(self) -> float:
        """Of the code of any vector."""
        return float(self.errors_C.max())
