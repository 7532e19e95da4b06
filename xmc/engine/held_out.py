"""The queries that a check may use: none was trained on, and what is fitted is judged on others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from xmc.check_contract import CheckQueries
from xmc.counted import counted
from xmc.data.dataset import HOLD_OUT, Dataset
from xmc.data.tables import QueryTable
from xmc.engine.index_rows import in_index, index_rows
from xmc.engine.progress import counting
from xmc.engine.removed_labels import require_positives
from xmc.errors import DataError
from xmc.ranking import first_hits
from xmc.retrieve.batch import search_texts
from xmc.retrieve.retriever import Retriever
from xmc.values import Hits, Positives


@dataclass(frozen=True)
class HeldOut:
    """Queries to judge and others to fit, with positives as rows of the index; `source` says which, in words."""

    queries: QueryTable
    fit_queries: QueryTable
    source: str


def held_out(data: Dataset, retriever: Retriever, *, split: str, fit_split: str = "") -> HeldOut:
    """The queries of `split` to judge, those of `fit_split` to fit; of one split for both, a half each.

    Without `fit_split` it is dev where test is judged and there is a dev split, else the split that is judged. A query
    goes to a half by the hash of its id, so neither the others nor their order matter.
    Raises: DataError for train, for a split that is not there or has no positives, and when a half would be empty.
    """
    fit_split = fit_split or ("dev" if split == "test" and "dev" in data.splits else split)
    for name in (split, fit_split):
        _refuse_train(data, name)
        require_positives(data.queries_of(name), name)
    if split != fit_split:
        judged, fitted = data.splits[split], data.splits[fit_split]
        source = (
            f"judged on {counted(len(judged), f'{split} query')}, fitted on "
            f"{counted(len(fitted), f'{fit_split} query')}"
        )
    else:
        queries = data.splits[split]
        fits_Q = np.array(
            [hashlib.sha256(f"half:{query_id}".encode()).digest()[0] % 2 == 0 for query_id in queries.ids]
        )
        if fits_Q.all() or not fits_Q.any():
            raise DataError(
                f"the {counted(len(queries), 'query')} of '{split}' cannot be halved.", hint="Hold out more queries."
            )
        fitted, judged = (queries.take(np.flatnonzero(chosen)) for chosen in (fits_Q, ~fits_Q))
        source = f"judged on {len(judged):,} and fitted on the other {len(fitted):,} of the {split} queries"
    rows_L = index_rows(data, retriever)
    return HeldOut(_in_index(judged, rows_L), _in_index(fitted, rows_L), source)


def _refuse_train(data: Dataset, split: str) -> None:
    if split == "train":
        there = ", ".join(name for name in data.splits if name != "train")
        raise DataError(
            "the run was trained on the split 'train', so no check can be made on it.",
            hint=f"Held out: {there}" if there else HOLD_OUT,
        )


def _in_index(queries: QueryTable, rows_L: np.ndarray[tuple[int], np.dtype[np.int64]]) -> QueryTable:
    """The queries with their positives as rows of the index, ascending within a query as everywhere."""
    truth = in_index(queries.positives, rows_L)
    order = np.lexsort((truth.label_rows, truth.query_rows()))
    ordered = Positives(truth.offsets, truth.label_rows[order], truth.weights[order])
    return QueryTable(queries.ids, queries.texts, ordered)


@dataclass
class HeldOutSearch:
    """Searches queries and remembers the deepest answer to each set of them, since several checks ask the same."""

    retriever: Retriever
    progress: Callable[[int, int], None]
    _found: dict[int, tuple[CheckQueries, int, Hits]] = field(default_factory=dict)

    def __call__(self, queries: CheckQueries, *, k: int) -> Hits:
        """The best k label rows of each query."""
        _, depth, hits = self._found.get(id(queries), (queries, 0, None))
        if hits is None or depth < k:
            on_chunk = counting(self.progress, len(queries))
            hits = search_texts(self.retriever, queries.texts, k=k, on_chunk=on_chunk)
            self._found[id(queries)] = (queries, k, hits)  # keeps the queries alive, so that the id stays theirs
        return first_hits(hits, k)
