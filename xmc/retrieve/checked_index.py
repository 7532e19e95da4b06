"""An index of a plugin of others, every answer of which is checked before anything is made of it.

The indexes of xmc itself are tested to keep to the contract, and what they answer is not looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xmc.index_contract import CertifyingIndex, FilteredIndex
from xmc.retrieve.hit_check import require_best_first, require_hits

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from xmc.api import Hits, Index, IndexReport
    from xmc.plugin_manager import Plugins


def checked(index: Index, backend: str, plugins: Plugins) -> Index:
    """The index as it is where xmc itself offers its backend, else one that checks its answers and can as much."""
    if plugins.is_own("index", backend):
        return index
    kinds: dict[tuple[bool, bool], type[CheckedIndex]] = {
        (False, False): CheckedIndex,
        (True, False): _CheckedFiltered,
        (False, True): _CheckedCertifying,
        (True, True): _CheckedBoth,
    }
    return kinds[isinstance(index, FilteredIndex), isinstance(index, CertifyingIndex)](index)


@dataclass(frozen=True, eq=False)
class CheckedIndex:
    """Answers as `index` does. Raises: PluginError where that breaks the contract of `xmc.api.Index`; as `index`."""

    index: Any

    @property
    def report(self) -> IndexReport:
        """That of the index."""
        report: IndexReport = self.index.report
        return report

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """See `xmc.api.Index.search`."""
        return self._required(self.index.search(queries_QD, k), queries_QD, k)

    def save(self, folder: Path) -> None:
        """See `xmc.api.Index.save`."""
        self.index.save(folder)

    def _required(self, hits: Hits, queries_QD: Tensor, k: int) -> Hits:
        require_hits(hits, self.index, queries=queries_QD.shape[0], labels=self.report.labels)
        require_best_first(hits, self.index, k=k)
        return hits


class _CheckedFiltered(CheckedIndex):
    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """See `xmc.api.FilteredIndex.search_among`."""
        return self._required(self.index.search_among(queries_QD, k, label_rows), queries_QD, k)


class _CheckedCertifying(CheckedIndex):
    def search_certified(self, queries_QD: Tensor, k: int) -> tuple[Hits, np.ndarray[Any, Any]]:
        """See `xmc.api.CertifyingIndex.search_certified`."""
        hits, proven_Q = self.index.search_certified(queries_QD, k)
        return self._required(hits, queries_QD, k), proven_Q


class _CheckedBoth(_CheckedFiltered, _CheckedCertifying):
    pass
