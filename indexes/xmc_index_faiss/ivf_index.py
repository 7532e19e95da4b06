"""The built inverted file: visits cells, scores candidates of codes again, fills short lists.

Shapes: Q queries, K wanted, M candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.gpu import MOST
from xmc_index_faiss.index import FaissIndex, Found
from xmc_index_faiss.label_vectors import HeldVectors
from xmc_index_faiss.rescoring import columns_above, is_one
from xmc_index_faiss.search_options import doubling_ladder, with_options

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Hits
    from xmc_index_faiss.ivf import Ivf
    from xmc_index_faiss.ivf_proof import Prover

VECTORS_FILE = "vectors.safetensors"
BOUNDS_FILE = "cells.safetensors"


@dataclass(frozen=True, eq=False)
class IvfIndex(FaissIndex):
    """The built cells; `options.nprobe` is the effort of a search."""

    options: Ivf
    prover: Prover | None

    def search_certified(self, queries_QD: Tensor, k: int) -> tuple[Hits, np.ndarray[Any, Any]]:
        """The hits of `search`, and for each query whether they are proven to be the true top k, (Q,) bool.

        Without the full vectors (codes with `rerank = 0`) nothing is proven. Raises: as `search`.
        """
        hits = self.search(queries_QD, k)
        if self.prover is None or self.options.exact:
            return hits, np.full(len(hits), self.options.exact)
        return hits, self.prover.proven(self._checked(queries_QD), hits, k, self.effort)

    def search_ladder(self) -> list[Mapping[str, Any]]:
        """`nprobe` doubled from 1 to all cells."""
        return doubling_ladder("nprobe", 1, self.most_effort)

    def with_search_options(self, options: Mapping[str, Any]) -> IvfIndex:
        """This index searched with another `nprobe`.

        Raises: ConfigError for another option or a value that is not allowed.
        """
        changed, report = with_options(self.options, self.report, options, allowed=("nprobe",))
        return replace(self, options=changed, report=report)

    def save(self, folder: Path) -> None:
        """Write the faiss index, the facts, the bounds of the cells, and the vectors that are kept beside codes."""
        from safetensors.numpy import save_file

        super().save(folder)
        if self.prover is not None:
            save_file(self.prover.bounds.to_arrays(), folder / BOUNDS_FILE)
        if isinstance(self.vectors, HeldVectors):
            save_file({"vectors_LD": self.vectors.matrix_LD}, folder / VECTORS_FILE)

    @property
    def effort(self) -> int:
        """`nprobe`, or all cells when there are fewer."""
        return min(self.options.nprobe, self.most_effort)

    @property
    def most_effort(self) -> int:
        """All cells; on a GPU at most as many as faiss can visit there."""
        cells = int(self.faiss_index.nlist)
        return min(cells, MOST) if self.gpu else cells

    def _parameters(self, effort: int, selector: Any) -> Any:
        return import_faiss().SearchParametersIVF(nprobe=effort, sel=selector)

    def _found_hits(self, queries: np.ndarray[Any, Any], k: int, rows: np.ndarray[Any, Any] | None = None) -> Hits:
        if self.options.exact and self.prover is not None and rows is None:
            return self.prover.exact(queries, k, self.effort)
        return super()._found_hits(queries, k, rows)

    @property
    def _errors_are_small(self) -> bool:
        """Whether it is worth asking; those of a search on a GPU are others than the bounds know."""
        return not self.gpu and self.options.storage != "pq"

    def _most_scanned(self, queries: int, k: int) -> int:
        return self.report.labels if self.options.exact else self._scanned_beside_cells(queries, k)

    def _ask(self, queries: np.ndarray[Any, Any], k: int, effort: int, selector: Any) -> Found:
        if not isinstance(self.vectors, HeldVectors):
            return super()._ask(queries, k, effort, selector)
        wanted = min(self.report.labels, k * self.options.rerank)
        said_QM, rows_QM = super()._ask(queries, wanted, effort, selector)
        if self.prover is not None and self._errors_are_small and not is_one(queries, rows_QM):
            limits_Q = said_QM[:, k - 1] - 2 * self.prover.score_errors(queries)
            rows_QM = rows_QM[:, : max(k, columns_above(said_QM, limits_Q))]  # others are none, far as faiss may be off
        return self._best_rescored(queries, rows_QM, k)
