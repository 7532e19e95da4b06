"""An index from a factory string, searched: which parameter its inner index has, and how faiss is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import ConfigError
from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.index import FaissIndex, Found
from xmc_index_faiss.search_options import doubling_ladder

if TYPE_CHECKING:
    from xmc_index_faiss.factory import Factory


@dataclass(frozen=True, eq=False)
class Inner:
    """The index inside refinement and transforms, the parameter of its search ("" for none), if the whole is refined.

    `most` is the largest value that makes sense.
    """

    index: Any
    parameter: str
    most: int
    default: int
    refined: bool

    def check(self, search: Mapping[str, int]) -> None:
        """Refuse a search parameter that the index has not. Raises: ConfigError."""
        allowed = [name for name in (self.parameter, "k_factor" if self.refined else "") if name]
        for name in search:
            if name not in allowed:
                has = f"it has: {', '.join(allowed)}" if allowed else "it has none"
                raise ConfigError(f"index.search: this faiss index has no search parameter {name!r} ({has}).")


def inner_index(index: Any) -> Inner:
    """Look through IndexRefine and IndexPreTransform; the caller keeps the whole index alive."""
    faiss = import_faiss()
    refined = isinstance(index, faiss.IndexRefine)
    if refined:
        index = faiss.downcast_index(index.base_index)
    if isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexIVF):
        return Inner(index, "nprobe", index.nlist, 1, refined)
    if isinstance(index, faiss.IndexHNSW):
        return Inner(index, "efSearch", max(index.ntotal, 1), index.hnsw.efSearch, refined)
    return Inner(index, "", 0, 0, refined)


@dataclass(frozen=True, eq=False)
class FactoryIndex(FaissIndex):
    """The built index; its effort is nprobe or efSearch, where it has one of them."""

    options: Factory

    def search_ladder(self) -> list[Mapping[str, Any]]:
        """`nprobe` doubled to all cells, or `efSearch` from 8 to at most 4,096; one empty step for other indexes."""
        inner = inner_index(self.faiss_index)
        if not inner.parameter:
            return [{}]
        first = 1 if inner.parameter == "nprobe" else 8
        last = inner.most if inner.parameter == "nprobe" else min(4096, max(8, inner.most // 4))
        return doubling_ladder(inner.parameter, first, last)

    def with_search_options(self, options: Mapping[str, Any]) -> FactoryIndex:
        """This index searched with other parameters.

        Raises: ConfigError for a parameter that it has not or a value that is not allowed.
        """
        inner_index(self.faiss_index).check(options)
        if any(type(value) is not int for value in options.values()):
            raise ConfigError(f"faiss.factory: search parameters are whole numbers, got {dict(options)}.")
        try:
            changed = replace(self.options, search={**self.options.search, **options})
        except ValueError as error:
            raise ConfigError(f"faiss.factory: {error}.") from error
        return replace(self, options=changed, report=replace(self.report, options=asdict(changed)))

    @property
    def effort(self) -> int:
        """`nprobe` or `efSearch`."""
        inner = inner_index(self.faiss_index)
        return min(self.options.search.get(inner.parameter, inner.default), self.most_effort)

    @property
    def most_effort(self) -> int:
        """All cells, or all labels in view."""
        return inner_index(self.faiss_index).most

    def _parameters(self, effort: int, selector: Any) -> Any:
        faiss, inner = import_faiss(), inner_index(self.faiss_index)
        if inner.parameter == "nprobe":
            return faiss.SearchParametersIVF(nprobe=effort, sel=selector)
        if inner.parameter == "efSearch":
            return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        return None

    def _ask(self, queries: np.ndarray[Any, Any], k: int, effort: int, selector: Any) -> Found:
        """A refined index is told how many candidates to look at, at most all: faiss makes room for every one."""
        if not inner_index(self.faiss_index).refined:
            return super()._ask(queries, k, effort, selector)
        factor = min(self.options.search.get("k_factor", 1), -(-self.report.labels // k))
        told = import_faiss().IndexRefineSearchParameters(
            k_factor=float(factor), base_index_params=self._parameters(effort, selector)
        )
        found: Found = self.faiss_index.search(queries, k, params=told)
        return found

    def _most_scanned(self, queries: int, k: int) -> int:
        """Without a known filter of its own, such an index has its allowed labels scored one by one."""
        inner = inner_index(self.faiss_index)
        if inner.refined or not inner.parameter:
            return self.report.labels
        if inner.parameter == "nprobe":
            return self._scanned_beside_cells(queries, k)
        return self._scanned_beside_a_walk(queries, k)
