"""The built inverted file: visits cells, scores candidates of codes again, fills short lists.

Shapes: Q queries, K wanted, M candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.index import FaissIndex, Found
from xmc_index_faiss.label_vectors import HeldVectors
from xmc_index_faiss.row_scan import rescore
from xmc_index_faiss.search_options import doubling_ladder, with_options

if TYPE_CHECKING:
    from xmc_index_faiss.ivf import Ivf

VECTORS_FILE = "vectors.safetensors"
SCANNED_PER_CELL = 1  # of a filter's rows, in shares of what the visited cells hold


@dataclass(frozen=True, eq=False)
class IvfIndex(FaissIndex):
    """The built cells; `options.nprobe` is the effort of a search."""

    options: Ivf

    def search_ladder(self) -> list[Mapping[str, Any]]:
        """`nprobe` doubled from 1 to all cells."""
        return doubling_ladder("nprobe", 1, self.faiss_index.nlist)

    def with_search_options(self, options: Mapping[str, Any]) -> IvfIndex:
        """This index searched with another `nprobe`.

        Raises: ConfigError for another option or a value that is not allowed.
        """
        changed, report = with_options(self.options, self.report, options, allowed=("nprobe",))
        return replace(self, options=changed, report=report)

    def save(self, folder: Path) -> None:
        """Write the faiss index, the facts, and the full vectors (safetensors) where they are kept beside codes."""
        super().save(folder)
        if isinstance(self.vectors, HeldVectors):
            from safetensors.numpy import save_file

            save_file({"vectors_LD": self.vectors.matrix_LD}, folder / VECTORS_FILE)

    @property
    def effort(self) -> int:
        """`nprobe`, or all cells when there are fewer."""
        return min(self.options.nprobe, self.most_effort)

    @property
    def most_effort(self) -> int:
        """All cells."""
        return int(self.faiss_index.nlist)

    def _parameters(self, effort: int, selector: Any) -> Any:
        return import_faiss().SearchParametersIVF(nprobe=effort, sel=selector)

    def _most_scanned(self, k: int) -> int:
        visited = self.effort / self.most_effort * self.report.labels
        return int(max(SCANNED_PER_CELL * visited, k))

    def _ask(self, queries: np.ndarray[Any, Any], k: int, effort: int, selector: Any) -> Found:
        if not isinstance(self.vectors, HeldVectors):
            return super()._ask(queries, k, effort, selector)
        wanted = min(self.report.labels, k * self.options.rerank)
        scores_QM, rows_QM = super()._ask(queries, wanted, effort, selector)
        return self._reranked(queries, scores_QM, rows_QM, k)

    def _reranked(self, queries: Any, scores_QM: np.ndarray[Any, Any], rows_QM: np.ndarray[Any, Any], k: int) -> Found:
        """The best k of the candidates by their true scores; places without a candidate stay last."""
        query_rows, columns = np.nonzero(rows_QM >= 0)
        label_rows = rows_QM[query_rows, columns]
        pairs = torch.from_numpy(query_rows), torch.from_numpy(label_rows)
        scores_QM[rows_QM < 0] = -np.inf
        scores_QM[query_rows, columns] = rescore(torch.from_numpy(queries), self.vectors, *pairs).numpy()
        order_QK = np.lexsort((rows_QM, -scores_QM), axis=1)[:, :k]
        return np.take_along_axis(scores_QM, order_QK, 1), np.take_along_axis(rows_QM, order_QK, 1)
