"""Arrow list columns into `Positives` and back; the only module that reads the buffers of a list column.

The trap it hides: after a slice the offsets of a list array do not start at 0 and `.values` is the whole, unsliced
buffer; a column may also come in chunks, with null lists and null elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmc.counted import counted
from xmc.errors import DataError
from xmc.ragged import offsets_of
from xmc.values import Positives

SHOWN = 5


class _Lists(NamedTuple):
    """A list column laid flat: offsets (Q + 1,) int64 from 0, and the elements as one Arrow array."""

    offsets: np.ndarray[Any, Any]
    values: Any


def positives_from_arrow(
    column: Any, relevance: Any = None, *, label_ids: Any, query_ids: Sequence[str], source: str
) -> tuple[Positives, int]:
    """Read the columns `positives` (label rows or label ids) and `relevance`; also say how many duplicates were merged.

    A null list is an empty one. Label rows come out ascending, each once per query; of duplicates the larger weight
    stays.
    `label_ids` is an Arrow array of the L ids, `query_ids` names queries in errors.
    Raises: DataError for an unknown id or a row outside 0..L-1, a null element, relevance of another length, and a
    weight that is not finite and > 0, each naming the query and how many there are.

    >>> column = pa.chunked_array([[[2, 0], []], [[1]]])
    >>> positives, merged = positives_from_arrow(
    ...     column, label_ids=pa.array(["a", "b", "c"]), query_ids=["x", "y", "z"], source="q.parquet")
    >>> positives.offsets.tolist(), positives.label_rows.tolist(), merged
    ([0, 2, 2, 3], [0, 2, 1], 0)
    """
    lists = _flat(column)
    place = _Place(source, lists.offsets, query_ids)
    if lists.values.null_count:
        place.refuse(lists.values.is_null(), "a null among its positives")
    label_rows = _label_rows(lists.values, label_ids, place)
    weights = _weights(relevance, lists.offsets, place)
    return _merge_duplicates(Positives(lists.offsets, label_rows, weights))


def positives_to_arrow(positives: Positives) -> tuple[Any, Any]:
    """The columns `positives` and `relevance`; relevance is None when every weight is 1. Nothing is copied.

    >>> positives = Positives(np.array([0, 2, 2]), np.array([0, 7], np.int32), np.ones(2, np.float32))
    >>> positives_to_arrow(positives)[0].to_pylist()
    [[0, 7], []]
    """
    offsets = pa.array(positives.offsets.astype(np.int64, copy=False))
    rows = pa.array(positives.label_rows.astype(np.int32, copy=False))
    column = pa.LargeListArray.from_arrays(offsets, rows)
    if np.all(positives.weights == 1):
        return column, None
    weights = pa.array(positives.weights.astype(np.float32, copy=False))
    return column, pa.LargeListArray.from_arrays(offsets, weights)


class _Place(NamedTuple):
    """Where the elements come from, to name the first few queries of an error."""

    source: str
    offsets: np.ndarray[Any, Any]
    query_ids: Sequence[str]

    def refuse(self, bad: Any, what: str, value_of: Callable[[int], Any] | None = None) -> None:
        """Raise for the elements marked in `bad`, an Arrow or NumPy mask over all pairs."""
        pairs = np.flatnonzero(np.asarray(bad))
        rows = np.searchsorted(self.offsets, pairs[:SHOWN], side="right") - 1
        shown = [f"'{self.query_ids[row]}' (row {row})" for row in rows]
        if value_of is not None:
            shown = [f"{place}: {value_of(int(pair))}" for place, pair in zip(shown, pairs, strict=False)]
        more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        raise DataError(f"{self.source}: {what}, {len(pairs):,} in all; query {', '.join(shown)}{more}.")


def _flat(column: Any) -> _Lists:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    lengths = [np.asarray(pc.fill_null(pc.list_value_length(chunk), 0), dtype=np.int64) for chunk in chunks]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]))])
    parts = [chunk.flatten() for chunk in chunks]
    values = parts[0] if len(parts) == 1 else pa.chunked_array(parts, type=column.type.value_type).combine_chunks()
    return _Lists(offsets.astype(np.int64, copy=False), values)


def _label_rows(values: Any, label_ids: Any, place: _Place) -> np.ndarray[Any, Any]:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not pa.types.is_integer(values.type):
        rows = pc.index_in(values.cast(label_ids.type), value_set=label_ids)
        if rows.null_count:
            place.refuse(rows.is_null(), "unknown label ids", lambda pair: repr(values[pair].as_py()[:100]))
        return np.asarray(rows, dtype=np.int32)
    numbers = np.asarray(values)
    outside = (numbers < 0) | (numbers >= len(label_ids))
    if outside.any():
        place.refuse(outside, f"label rows outside 0..{len(label_ids) - 1}", numbers.item)
    return numbers.astype(np.int32, copy=False)


def _weights(relevance: Any, offsets: np.ndarray[Any, Any], place: _Place) -> np.ndarray[Any, Any]:
    if relevance is None:
        return np.ones(int(offsets[-1]), dtype=np.float32)
    lists = _flat(relevance)
    differ = np.flatnonzero(lists.offsets != offsets)
    if len(differ):
        row = int(differ[0]) - 1
        got, wanted = lists.offsets[row + 1] - lists.offsets[row], offsets[row + 1] - offsets[row]
        raise DataError(
            f"{place.source}: query '{place.query_ids[row]}' (row {row}) has "
            f"{counted(wanted, 'positive')} and {got} relevance"
            " values, they must agree."
        )
    weights = np.asarray(lists.values.cast(pa.float32(), safe=False).fill_null(np.nan), dtype=np.float32)
    bad = ~(np.isfinite(weights) & (weights > 0))
    if bad.any():
        place.refuse(bad, "relevance that is not a finite number > 0", weights.item)
    return weights


def _merge_duplicates(positives: Positives) -> tuple[Positives, int]:
    offsets, label_rows, weights = positives.offsets, positives.label_rows, positives.weights
    query_rows = positives.query_rows()
    ascending = (np.diff(label_rows) > 0) | (np.diff(query_rows) > 0)
    if ascending.all():
        return positives, 0
    order = np.lexsort((-weights, label_rows, query_rows))
    label_rows, weights = label_rows[order], weights[order]
    first = np.concatenate(([True], (np.diff(label_rows) != 0) | (np.diff(query_rows) != 0)))
    offsets = offsets_of(np.bincount(query_rows[first], minlength=len(positives)))
    return Positives(offsets, label_rows[first], weights[first]), int(len(first) - first.sum())
