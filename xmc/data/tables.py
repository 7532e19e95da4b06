"""The label table and the query table as the rest of xmc holds them, read from checked Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmc.counted import counted
from xmc.data.bag_column import read_bag_ids
from xmc.data.positives import positives_from_arrow, positives_to_arrow
from xmc.data.schemas import schema_of
from xmc.data.shards import CONTENT_KEY, concatenate, read_table
from xmc.errors import DataError, first_few
from xmc.values import Positives

MAX_TEXT_BYTES = 1_000_000


@dataclass(frozen=True)
class LabelTable:
    """The L labels: label row i has `ids[i]` and `texts[i]`; ids are unique, texts are not blank."""

    ids: list[str]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<LabelTable of {counted(len(self), 'label')}>"

    @cached_property
    def arrow_ids(self) -> Any:
        """The ids as an Arrow array, made once: a search takes those of its hits from it."""
        return pa.array(self.ids, pa.string())

    def take(self, rows: np.ndarray[Any, Any]) -> LabelTable:
        """The given labels, in the given order."""
        return LabelTable([self.ids[row] for row in rows], [self.texts[row] for row in rows])


@dataclass(frozen=True)
class QueryTable:
    """The Q queries of a split, each with a text and at least one positive; ids are unique within the split.

    Where only the label of a bag of queries is known, `bag_ids` says which bag each is in, and all queries of a bag
    have the same positives; None where each query has positives of its own.
    """

    ids: list[str]
    texts: list[str]
    positives: Positives
    bag_ids: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<QueryTable of {counted(len(self), 'query')}>"

    def take(self, rows: np.ndarray[Any, Any]) -> QueryTable:
        """The given queries, in the given order."""
        bag_ids = None if self.bag_ids is None else [self.bag_ids[row] for row in rows]
        texts = [self.texts[row] for row in rows]
        return QueryTable([self.ids[row] for row in rows], texts, self.positives.take(np.asarray(rows)), bag_ids)


def read_labels(shards: Sequence[Path]) -> LabelTable:
    """Read the shards of a label table.

    Raises: DataError for a damaged file, a wrong column, a null, empty or repeated id, and a label without text.
    """
    source = _source(shards)
    table = concatenate([read_table(path, kind="labels") for path in shards], source=source)
    ids = _strings(table.column("label_id"))
    _check_ids(ids, "label_id", source)
    texts = _strings(table.column("text"))
    blank = np.flatnonzero(_is_blank(texts))
    if len(blank):
        raise DataError(
            f"{source}: {counted(len(blank), 'label has', 'labels have')} no text: {_rows(blank, ids)}.",
            hint="Every label is encoded from its text; give it one or leave the label out.",
        )
    _check_length(texts, ids, source)
    if not len(ids):
        raise DataError(f"{source}: the table has no labels.")
    return LabelTable(ids.to_pylist(), texts.to_pylist())


def _refuse_numbers_that_may_be_ids(tables: Sequence[Any], label_ids: Sequence[str], source: str) -> None:
    """Whole numbers are rows of the label table; where the ids are numbers as well, but others, nobody can tell."""
    kinds = [table.schema.field("positives").type.value_type for table in tables]
    if not any(map(pa.types.is_integer, kinds)) or not all(map(str.isdecimal, label_ids)):
        return
    row = next((row for row, label_id in enumerate(label_ids) if int(label_id) != row), None)
    if row is not None:
        raise DataError(
            f"{source}: 'positives' holds whole numbers. They are rows of the label table, counted from 0, but its ids "
            f"are numbers too, and row {row} is label '{label_ids[row]}'.",
            hint="Give the ids as strings, in 'positives' as in 'label_id'.",
        )


def read_queries(shards: Sequence[Path], labels: LabelTable, *, split: str) -> tuple[QueryTable, tuple[str, ...]]:
    """Read the shards of a query table; queries without text or without positives are left out, and a note says so.

    Raises: DataError for a damaged file, a wrong column, a null, empty or repeated id, wrong positives, positives that
    may be ids or rows, and a bag whose queries differ in their positives.
    """
    source = _source(shards)
    tables = [read_table(path, kind="queries") for path in shards]
    if not all(CONTENT_KEY in (table.schema.metadata or {}) for table in tables):  # else xmc wrote them, and means rows
        _refuse_numbers_that_may_be_ids(tables, labels.ids, source)
    table = concatenate(tables, source=source)
    ids, texts = _strings(table.column("query_id")), _strings(table.column("text"))
    _check_ids(ids, "query_id", source)
    _check_length(texts, ids, source)
    query_ids = ids.to_pylist()
    relevance = table.column("relevance") if "relevance" in table.column_names else None
    label_ids = pa.array(labels.ids, pa.large_string())
    positives, merged = positives_from_arrow(
        table.column("positives"), relevance, label_ids=label_ids, query_ids=query_ids, source=source
    )
    blank, lonely = _is_blank(texts), positives.counts() == 0
    kept = np.flatnonzero(~(blank | lonely))
    bag_ids = read_bag_ids(table.column("bag_id"), positives, source=source) if "bag_id" in table.column_names else None
    queries = QueryTable(query_ids, texts.fill_null("").to_pylist(), positives, bag_ids)
    notes = _notes(
        split, total=len(queries), blank=int(blank.sum()), lonely=int((lonely & ~blank).sum()), merged=merged
    )
    return (queries if len(kept) == len(queries) else queries.take(kept)), notes


def label_table_to_arrow(labels: LabelTable) -> Any:
    """The label table as Arrow, ready for `write_table`."""
    schema = schema_of("labels", without=["train_count"])
    return pa.table({"label_id": labels.ids, "text": labels.texts}, schema=schema)


def query_table_to_arrow(queries: QueryTable) -> Any:
    """The query table as Arrow, ready for `write_table`.

    The column `relevance` is there when some weight is not 1, `bag_id` when the queries are in bags.
    """
    positives, relevance = positives_to_arrow(queries.positives)
    columns = {"query_id": queries.ids, "text": queries.texts, "positives": positives}
    columns |= {} if relevance is None else {"relevance": relevance}
    columns |= {} if queries.bag_ids is None else {"bag_id": queries.bag_ids}
    left_out = {"relevance", "bag_id"} - set(columns)
    return pa.table(columns, schema=schema_of("queries", without=left_out))


def _source(shards: Sequence[Path]) -> str:
    return str(shards[0]) if len(shards) == 1 else f"{shards[0].parent} ({counted(len(shards), 'shard')})"


def _strings(column: Any) -> Any:
    """One large_string array of a column of any string type."""
    return column.cast(pa.large_string()).combine_chunks()


def _is_blank(texts: Any) -> np.ndarray[Any, Any]:
    trimmed = pc.utf8_trim_whitespace(texts.fill_null(""))
    return np.asarray(pc.equal(trimmed, ""), dtype=bool)


def _check_ids(ids: Any, column: str, source: str) -> None:
    missing = np.flatnonzero(np.asarray(pc.equal(ids.fill_null(""), "")))
    if len(missing):
        raise DataError(
            f"{source}: column '{column}' is null or empty in {counted(len(missing), 'row')}: {_rows(missing)}."
        )
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    shown = first_few(repeated, lambda row: f"'{row['values']}' ({counted(row['counts'].as_py(), 'time')})")
    raise DataError(
        f"{source}: column '{column}' must be unique, {counted(len(repeated), 'id is', 'ids are')} repeated: {shown}."
    )


def _check_length(texts: Any, ids: Any, source: str) -> None:
    long = np.flatnonzero(np.asarray(pc.greater(pc.binary_length(texts).fill_null(0), MAX_TEXT_BYTES)))
    if len(long):
        raise DataError(
            f"{source}: {counted(len(long), 'text is', 'texts are')} longer than {MAX_TEXT_BYTES:,} "
            f"bytes: {_rows(long, ids)}.",
            hint="Cut them, or split them into passages.",
        )


def _rows(rows: np.ndarray[Any, Any], ids: Any = None) -> str:
    return first_few(rows.tolist(), lambda row: f"row {row}" if ids is None else f"row {row} ('{ids[row].as_py()}')")


def _notes(split: str, *, total: int, blank: int, lonely: int, merged: int) -> tuple[str, ...]:
    facts = {"without text": blank, "without positives": lonely}
    notes = [f"{split}: {n} of {total} queries are {what} and are left out" for what, n in facts.items() if n]
    if merged:
        twice = "twice in the same query and"
        said = counted(merged, f"positive stands {twice} is", f"positives stand {twice} are")
        notes.append(f"{split}: {said} merged")
    return tuple(notes)
