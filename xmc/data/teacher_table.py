"""A teacher's scores in a table of hits, as `xmc teach`, `xmc predict` or anyone writes it, checked at the door.

Shapes: Q queries, L labels, P positives, T (query, label) pairs of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmc.counted import counted_that
from xmc.data.shards import concatenate, read_table
from xmc.errors import DataError, first_few
from xmc.ragged import offsets_of
from xmc.values import Hits, Positives

WRONG_DATA = "Was the teacher asked about another data set?"
Array = np.ndarray[Any, Any]


def read_teacher_scores(
    shards: Sequence[Path], query_ids: Sequence[str], label_ids: Sequence[str], positives: Positives
) -> Hits:
    """The shortlists of these queries, in their order; within a query by label row, each label once.

    A positive that the teacher's shortlist does not hold is inserted with the lowest score of that list, which is the
    most that the teacher can have given it. An empty list stays empty: that query has no teacher.
    Raises: DataError for a damaged file or a wrong column, a query that the table does not have or has twice, a label
    id that is not of this data set or stands twice in a list, and a score that is not a finite number.
    """
    table = concatenate([read_table(path, kind="hits") for path in shards], source=str(shards[0].parent))
    rows = _TeacherRows(str(shards[0] if len(shards) == 1 else shards[0].parent), table, query_ids)
    counts_Q, label_rows_T, scores_T = rows.flat(pa.array(label_ids, pa.large_string()))
    rows_T = np.repeat(np.arange(len(query_ids)), counts_Q)
    keys_T = rows_T * len(label_ids) + label_rows_T
    keys_P = positives.pair_keys(len(label_ids))
    missing_P = (counts_Q[positives.query_rows()] > 0) & ~np.isin(keys_P, keys_T)
    lowest_Q = np.full(len(query_ids), np.inf, np.float32)
    np.minimum.at(lowest_Q, rows_T, scores_T)
    keys_T = np.concatenate((keys_T, keys_P[missing_P]))
    scores_T = np.concatenate((scores_T, lowest_Q[positives.query_rows()[missing_P]]))
    order_T = np.argsort(keys_T)
    keys_T, scores_T = keys_T[order_T], scores_T[order_T]
    rows_T, label_rows_T = np.divmod(keys_T, len(label_ids))
    twice = np.flatnonzero(np.diff(keys_T) == 0)
    rows.refuse(np.unique(rows_T[twice]), "have a label twice on their shortlist")
    offsets = offsets_of(np.bincount(rows_T, minlength=len(query_ids)))
    return Hits(offsets, label_rows_T.astype(np.int64), scores_T)


class _TeacherRows:
    """The rows of a table for these queries, in their order."""

    def __init__(self, source: str, table: Any, query_ids: Sequence[str]) -> None:
        self._source, self._query_ids = source, query_ids
        ids = table.column("query_id").cast(pa.large_string()).combine_chunks()
        wanted = pa.array(query_ids, pa.large_string())
        places = pc.index_in(wanted, value_set=ids)
        hint = "Score all training queries: xmc teach does; held-out ones are not needed."
        self.refuse(np.flatnonzero(np.asarray(places.is_null())), "are not in the teacher's table", hint=hint)
        asked = ids.filter(pc.is_in(ids, value_set=wanted))
        if len(asked) != len(query_ids):
            repeated = next(each["values"].as_py() for each in pc.value_counts(asked) if each["counts"].as_py() > 1)
            raise DataError(f"{source}: query '{repeated}' stands in the teacher's table more than once.")
        self._table = table.take(places)

    def flat(self, label_ids: Any) -> tuple[Array, Array, Array]:
        """The length of each shortlist (Q,), and the label row and the score of each of its elements, (T,)."""
        labels, scores = self._table.column("label_ids"), self._table.column("scores")
        nothing = np.asarray(labels.is_null()) | np.asarray(scores.is_null())
        self.refuse(np.flatnonzero(nothing), "have no answer of the teacher (null)")
        counts_Q, others_Q = (np.asarray(pc.list_value_length(column)).astype(np.int64) for column in (labels, scores))
        self.refuse(np.flatnonzero(counts_Q != others_Q), "have not one score for each label of their shortlist")
        rows_T = np.repeat(np.arange(len(counts_Q)), counts_Q)
        names = pc.list_flatten(labels).combine_chunks().cast(label_ids.type)
        found = pc.index_in(names, value_set=label_ids)
        unknown = np.flatnonzero(np.asarray(found.is_null()))
        example = repr(names[int(unknown[0])].as_py()) if len(unknown) else ""
        what = f"have labels that this data set has not, such as {example}"
        self.refuse(np.unique(rows_T[unknown]), what, hint=WRONG_DATA)
        values = pc.list_flatten(scores).combine_chunks().cast(pa.float32()).fill_null(np.nan)
        scores_T = np.asarray(values, dtype=np.float32)
        wild = np.flatnonzero(~np.isfinite(scores_T))
        self.refuse(np.unique(rows_T[wild]), "have scores that are not finite numbers")
        return counts_Q, np.asarray(found, dtype=np.int64), scores_T

    def refuse(self, rows: Array, what: str, *, hint: str = "") -> None:
        """Raise DataError for these query rows, if any."""
        if len(rows):
            shown = first_few(rows.tolist(), lambda row: f"'{self._query_ids[row]}'")
            raise DataError(f"{self._source}: {counted_that(len(rows), 'query', what)}: {shown}.", hint=hint)
