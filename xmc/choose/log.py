"""The log of a policy that was in place: what it could show, what it showed with which chance, what came of it.

Shapes: Q rows, M columns of candidates, K ranks, N candidates of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmc.choose.log_rows import Lists, LogRows
from xmc.data.schemas import check_schema, schema_of
from xmc.data.shards import concatenate, find_shards, read_table
from xmc.errors import DataError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ClickLog:
    """Q rows, each one list of labels that was shown for a query, ready to be estimated from.

    The candidates of row q are `label_ids[codes_N[offsets[q]:offsets[q + 1]]]`, in the order of their ids; in matrices
    they are its first columns. `shown_QK` are columns of the labels that were shown, `is_shown_QK` says at which ranks.
    `propensities_QK` are chances given the labels above, `rank_propensities_QK` whatever is above, None if not logged;
    both are 1, and rewards 0, at ranks that a row does not have.
    """

    query_ids: list[str]
    texts: list[str]
    label_ids: list[str]
    codes_N: Array
    offsets: Array
    shown_QK: Array
    is_shown_QK: Array
    propensities_QK: Array
    rewards_QK: Array
    rank_propensities_QK: Array | None

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def ranks(self) -> int:
        """The length of the longest list."""
        return self.shown_QK.shape[1]

    @cached_property
    def is_candidate_QM(self) -> Array:
        """Which columns each row has."""
        counts_Q = np.diff(self.offsets)
        return np.arange(counts_Q.max()) < counts_Q[:, None]

    def as_matrix(self, values_N: Array, *, fill: float) -> Array:
        """Values of the candidates as a matrix, (Q, M) float64, `fill` where a row has no candidate."""
        matrix_QM = np.full(self.is_candidate_QM.shape, fill)
        matrix_QM[self.is_candidate_QM] = values_N
        return matrix_QM


def read_log(pattern: str | Path) -> ClickLog:
    """Read a log: a file, a folder, or a pattern of shards.

    Raises: DataError naming the file when it is missing or damaged, and the first rows that are wrong.
    """
    shards = find_shards(pattern)
    return log_of(
        concatenate([read_table(path, kind="clicks") for path in shards], source=str(pattern)), source=str(pattern)
    )


def log_of(table: Any, *, source: str = "the log") -> ClickLog:
    """Check a log that is an Arrow table.

    Raises: DataError naming the first rows where a value is missing, lists differ in length, a label is no candidate or
    stands twice, a propensity lies outside (0, 1], or a number is not finite.
    """
    check_schema(table.schema, "clicks", source=source)
    if table.num_rows == 0:
        raise DataError(f"{source}: the log has no rows.")
    rows = LogRows(source, table)
    candidates, shown = rows.lists("candidates"), rows.lists("label_ids")
    rows.refuse(candidates.counts_Q == 0, "have no candidates")
    rows.refuse(shown.counts_Q == 0, "show no label")
    ids = pc.unique(candidates.values)
    ids = ids.take(pc.sort_indices(ids))
    keys_N, order_N = _sorted_keys(candidates, ids)
    rows.refuse_elements(candidates, _repeated(keys_N, order_N), "stands twice among the candidates of")
    shown_columns = _columns_of(rows, shown, ids, keys_N, candidates)
    is_shown_QK = np.arange(shown.counts_Q.max()) < shown.counts_Q[:, None]

    def at_ranks(values: Array, *, fill: float = 0.0) -> Array:
        matrix_QK = np.full(is_shown_QK.shape, fill, values.dtype)
        matrix_QK[is_shown_QK] = values
        return matrix_QK

    by_rank = at_ranks(rows.numbers("rank_propensities", shown), fill=1.0) if rows.has("rank_propensities") else None
    return ClickLog(
        query_ids=rows.ids,
        texts=rows.texts,
        label_ids=ids.to_pylist(),
        codes_N=keys_N % len(ids),
        offsets=candidates.offsets,
        shown_QK=at_ranks(shown_columns),
        is_shown_QK=is_shown_QK,
        propensities_QK=at_ranks(rows.numbers("propensities", shown), fill=1.0),
        rewards_QK=at_ranks(rows.numbers("rewards", shown)),
        rank_propensities_QK=by_rank,
    )


def _sorted_keys(lists: Lists, ids: Any) -> tuple[Array, Array]:
    """A number for each (row, label) pair, ascending, and the order in which the pairs came."""
    keys_N = lists.rows_N * len(ids) + _codes(lists.values, ids)
    order_N = np.argsort(keys_N, kind="stable")
    return keys_N[order_N], order_N


def _columns_of(rows: LogRows, shown: Lists, ids: Any, keys_N: Array, candidates: Lists) -> Array:
    """The column of each shown label among the candidates of its row."""
    codes = _codes(shown.values, ids)
    keys = shown.rows_N * len(ids) + codes
    places = np.minimum(np.searchsorted(keys_N, keys), len(keys_N) - 1)
    is_candidate = (codes >= 0) & (keys_N[places] == keys)
    rows.refuse_elements(shown, ~is_candidate, "is shown but is none of the candidates of")
    order = np.argsort(keys, kind="stable")
    rows.refuse_elements(shown, _repeated(keys[order], order), "is shown twice in")
    return places - candidates.offsets[shown.rows_N]


def _repeated(sorted_keys_N: Array, order_N: Array) -> Array:
    """Which elements, in the order in which they came, repeat an earlier one."""
    repeated_N = np.zeros(len(order_N), bool)
    repeated_N[order_N[1:]] = np.diff(sorted_keys_N) == 0
    return repeated_N


def _codes(values: Any, ids: Any) -> Array:
    """The place of each id among the sorted ones; below 0 where it is none of them."""
    found = pc.index_in(values, value_set=ids)
    return np.asarray(found.fill_null(-1)).astype(np.int64)


def log_table(columns: dict[str, Any]) -> Any:
    """Columns of a log as an Arrow table, ready for `write_table`."""
    without = [] if "rank_propensities" in columns else ["rank_propensities"]
    return pa.table(columns, schema=schema_of("clicks", without=without))
