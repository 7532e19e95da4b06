"""The metadata of labels by key, so that a filter need not ask every passage each time."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from xmc.retrieve.living_labels import find
from xmc.retrieve.metadata_column import Column, comparable
from xmc.retrieve.passage_records import NOTHING, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xmc.data.tables import LabelTable
    from xmc.retrieve.passage_records import Records

MOST_CHANGED = 0.25  # above this share all is read anew, which costs no more


class MetadataColumns:
    """A column for each key that was asked for, made the first time by reading all metadata once.

    A column takes 4 to 8 bytes for each label that has the key, beside its different values. Of a key that nothing has
    nothing is remembered, so that there may be any number of them.
    """

    def __init__(self, labels: LabelTable, records: Records) -> None:
        self._labels, self._records = labels, records
        self._keys: frozenset[str] | None = None  # of all metadata
        self._columns: dict[str, Column] = {}

    def column(self, key: str) -> Column:
        """The values that stand under a key.

        >>> from xmc.data.tables import LabelTable
        >>> from xmc.retrieve.passage_records import Record, Records
        >>> records = Records({"a": Record("", '{"page": 3}'), "c": Record("", '{"page": 3.0}')})
        >>> column = MetadataColumns(LabelTable(["a", "b", "c"], ["", "", ""]), records).column("page")
        >>> column.values, column.rows.tolist()
        ([3], [0, 2])
        """
        if self._keys is not None and key not in self._keys:
            return self._empty()
        if key not in self._columns:
            column, self._keys = self._read(key)
            if key not in self._keys:
                return column
            self._columns[key] = column
        return self._columns[key]

    def updated(self, labels: LabelTable, records: Records) -> MetadataColumns:
        """`MetadataColumns(labels, records)`, for which only what differs from this one is read."""
        after = MetadataColumns(labels, records)
        if self._keys is None:
            return after
        old_rows_L, new_rows = self._carried(labels, records)
        if len(new_rows) > MOST_CHANGED * len(labels):
            return after
        new = {row: json.loads(records.json(labels.ids[row])) for row in new_rows}
        after._keys = self._keys.union(*new.values())
        for key, column in list(self._columns.items()):
            there = {row: kept[key] for row, kept in new.items() if key in kept}
            if (moved := _moved(column, old_rows_L, there)).values:
                after._columns[key] = moved
        return after

    def _carried(self, labels: LabelTable, records: Records) -> tuple[NDArray[np.int64], list[int]]:
        """For each label the row that it had, -1 where nothing is carried over from there, and those rows."""
        by_id, known = records.by_id, self._records.by_id
        if labels is self._labels:
            old_rows_L = np.arange(len(labels))
        else:
            there = pc.index_in(labels.arrow_ids, value_set=self._labels.arrow_ids)
            old_rows_L = there.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        new_rows = np.flatnonzero(old_rows_L < 0).tolist()
        if by_id is not known:
            differ = {label_id for label_id, _ in by_id.items() ^ known.items()}
            bare = Record("", NOTHING)
            other = (i for i in differ if by_id.get(i, bare).metadata != known.get(i, bare).metadata)
            rows = (find(labels, label_id) for label_id in other)
            new_rows = sorted({row for row in rows if row >= 0}.union(new_rows))
            old_rows_L[new_rows] = -1
        return old_rows_L, new_rows

    def _read(self, key: str) -> tuple[Column, frozenset[str]]:
        """The column of a key, and all keys that there are."""
        places_L = np.full(len(self._labels), -1, np.int32)
        keys: set[str] = set()
        values: list[Any] = []
        place_of: dict[Hashable, int] = {}
        by_id, decode = self._records.by_id, json.JSONDecoder().raw_decode  # in half of the time of json.loads
        for row, label_id in enumerate(self._labels.ids):
            if (record := by_id.get(label_id)) is None:
                continue
            kept, _ = decode(record.metadata)
            keys.update(kept)
            if key in kept:
                place = place_of.setdefault(comparable(kept[key]), len(values))
                if place == len(values):
                    values.append(kept[key])
                places_L[row] = place
        return Column.of(places_L, values), frozenset(keys)

    def _empty(self) -> Column:
        return Column.of(np.full(len(self._labels), -1, np.int32), [])


def _moved(column: Column, old_rows_L: NDArray[np.int64], new: Mapping[int, Any]) -> Column:
    """A column for labels of which each was at an old row, or at -1 and has a new value or none."""
    places_L = np.append(column.places_L(), np.int32(-1))[old_rows_L]
    is_used_V = np.bincount(places_L + 1, minlength=len(column.values) + 1)[1:] > 0
    values = list(column.values)
    more: dict[Hashable, int] = {}
    for row, value in new.items():
        place = column.place(value)
        if place < 0 or not is_used_V[place]:  # the values that are shown are those that are there now
            place = more.setdefault(comparable(value), len(values))
            if place == len(values):
                values.append(value)
        places_L[row] = place
    return Column.of(places_L, values)
