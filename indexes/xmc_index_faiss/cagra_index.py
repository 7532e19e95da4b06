"""The built CAGRA graph: walked by the GPU, its finds scored again, its short lists filled.

Shapes: Q queries, K wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import DeviceError
from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.index import FaissIndex, Found
from xmc_index_faiss.search_options import doubling_ladder, with_options

if TYPE_CHECKING:
    from xmc_index_faiss.cagra import Cagra

GRAPH_TYPE = "IndexHNSWCagra"  # what faiss makes of a CAGRA graph in the host's memory, and what is saved
MOST_IN_VIEW = 1024  # what every search kernel of cuVS holds
MOST_OF_ONE_BLOCK = 512  # what the kernel holds that walks for a query with one block of threads


@dataclass(frozen=True, eq=False)
class CagraIndex(FaissIndex):
    """The built graph; `options.itopk` is the effort of a search."""

    options: Cagra

    def search_ladder(self) -> list[Mapping[str, Any]]:
        """`itopk` doubled from 32 to 1,024, or to a quarter of the labels."""
        return doubling_ladder("itopk", 32, min(MOST_IN_VIEW, max(32, self.report.labels // 4)))

    def with_search_options(self, options: Mapping[str, Any]) -> CagraIndex:
        """This index searched with another `itopk` or `search_width`.

        Raises: ConfigError for another option or a value that is not allowed.
        """
        changed, report = with_options(self.options, self.report, options, allowed=("itopk", "search_width"))
        return replace(self, options=changed, report=report)

    @property
    def effort(self) -> int:
        """`itopk`; 0 for the few labels that have no graph."""
        return self.options.itopk if self._is_graph else 0

    @property
    def most_effort(self) -> int:
        """As much as cuVS holds in view."""
        return MOST_IN_VIEW if self._is_graph else 0

    @property
    def _is_graph(self) -> bool:
        return type(self.faiss_index).__name__ == GRAPH_TYPE

    def _ask(self, queries: np.ndarray[Any, Any], k: int, effort: int, selector: Any) -> Found:
        """One walk; filtered searches never come here, they are scanned."""
        assert self.gpu is not None and selector is None  # a CAGRA index has a GPU, or was not made
        told = self._told(k, effort) if self._is_graph else None
        _, rows_QK = self.gpu.search(queries, k, parameters=told)
        return self._best_rescored(queries, self._each_once(rows_QK), k)

    def _told(self, k: int, effort: int) -> Any:
        """What cuVS is told about a walk, which keeps at least k labels in view. Raises: DeviceError.

        Several blocks of threads race each other, so that of equal labels now these are found and now those; one block
        found the same in every trial (decision 0026). It is slower for few queries, and about as quick for a thousand.
        """
        if k > MOST_IN_VIEW:
            raise DeviceError(
                f"faiss.cagra keeps at most {MOST_IN_VIEW:,} labels in view, got k = {k:,}.",
                hint="Use a smaller k, or the backend 'exact', which has no such limit.",
            )
        faiss = import_faiss()
        told = faiss.SearchParametersCagra()
        told.itopk_size, told.search_width = max(effort, k), self.options.search_width
        if told.itopk_size <= MOST_OF_ONE_BLOCK:
            told.algo = faiss.search_algo_SINGLE_CTA
        return told

    def _each_once(self, rows_QK: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The rows that are labels, each once in a list; -1 in place of others: cuVS fills up as its version likes."""
        rows_QK = np.where((rows_QK >= 0) & (rows_QK < self.report.labels), rows_QK, -1)
        order_QK = np.argsort(rows_QK, axis=1, kind="stable")
        sorted_QK = np.take_along_axis(rows_QK, order_QK, axis=1)
        sorted_QK[:, 1:][sorted_QK[:, 1:] == sorted_QK[:, :-1]] = -1
        return sorted_QK
