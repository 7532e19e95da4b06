"""Rows of any format into checked tables: one place for the rules every format obeys."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from xmc.data.importers.meant_label import hint_on_label
from xmc.data.importers.rows import LabelRow, QueryRow
from xmc.data.importers.tally import Tally
from xmc.data.tables import MAX_TEXT_BYTES, LabelTable, QueryTable
from xmc.errors import DataError
from xmc.values import Positives

NO_ROWS = "Write a row for each query, with its text and its labels, or take the file away if it is not that of train."
FLOAT32_MAX = float(np.finfo(np.float32).max)


def collect_labels(rows: Iterable[LabelRow], tally: Tally) -> LabelTable:
    """The label table of the rows: unique ids, texts that are there.

    Raises: DataError at a bad row (unless such are skipped), or when no label is left.
    """
    label_row: dict[str, int] = {}
    texts: list[str] = []
    for row in rows:
        reason = "label id stands twice" if row.id in label_row else _wrong(row.id, row.text)
        if reason:
            tally.bad("labels", row.place, reason, repr(row.id[:100]))
            continue
        label_row[row.id] = len(texts)
        texts.append(row.text)
    tally.table("labels").written = len(texts)
    if not texts:
        raise DataError("the source has no usable label.", hint=f"Mend its rows: {_examples(tally, 'labels')}")
    return LabelTable(list(label_row), texts)


def collect_queries(
    rows: Iterable[QueryRow], label_row: Mapping[str, int], *, split: str, tally: Tally, label_texts: Sequence[str]
) -> QueryTable:
    """The query table of the rows: unique ids, texts that are there, at least one known label each.

    `label_texts` are in the order of `label_row`.

    Raises: DataError at a bad row or an unknown label (unless such are skipped), or when no query is left.
    """
    ids: dict[str, None] = {}
    texts: list[str] = []
    offsets, label_rows, weights = array("q", [0]), array("i"), array("f")
    for row in rows:
        reason = "query id stands twice" if row.id in ids else _wrong(row.id, row.text)
        if reason:
            tally.bad(split, row.place, reason, repr(row.id[:100]))
            continue
        positives = _positives(row, label_row, split, tally, label_texts)
        if not positives:
            continue
        ids[row.id] = None
        texts.append(row.text)
        label_rows.extend(positives)
        weights.extend(positives.values())
        offsets.append(len(label_rows))
    tally.table(split).written = len(texts)
    if not tally.table(split).read:
        raise DataError(f"the split '{split}' has no query with a label.", hint=NO_ROWS)
    if not texts:
        todo = "Mend its rows" if split == "train" else "Mend its rows, or take its file away"
        raise DataError(f"the split '{split}' has no usable query.", hint=f"{todo}: {_examples(tally, split)}")
    arrays = (np.array(offsets, np.int64), np.array(label_rows, np.int32), np.array(weights, np.float32))
    return QueryTable(list(ids), texts, Positives(*arrays))


def _positives(
    row: QueryRow, label_row: Mapping[str, int], split: str, tally: Tally, label_texts: Sequence[str]
) -> dict[int, float]:
    """Label row -> weight, ascending; empty when the query is bad, which is then counted."""
    if not row.label_ids:
        tally.bad(split, row.place, "query has no label", repr(row.id[:100]))
        return {}
    weights = row.relevance or [1.0] * len(row.label_ids)
    found: dict[int, float] = {}
    places = row.label_places or [row.place] * len(row.label_ids)
    for place, label_id, weight in zip(places, row.label_ids, weights, strict=True):
        known = label_row.get(label_id)
        if not _is_weight(weight):
            tally.bad(split, place, "relevance is not a finite number > 0", repr(weight)[:50])
            return {}
        if known is None:
            labels = zip(label_row, label_texts, strict=True)
            tally.unknown_label(place, label_id, partial(hint_on_label, label_id, labels))
            continue
        tally.merged_positives += known in found
        found[known] = max(weight, found.get(known, 0.0))
    if not found:
        tally.bad(split, row.place, "query has no known label", repr(row.id[:100]))
    return dict(sorted(found.items()))


def ids_read_as_numbers(labels: LabelTable) -> str:
    """A note where all label ids are whole numbers written with a fraction of zero; '' for others.

    >>> ids_read_as_numbers(LabelTable(["7.0", "12.0"], ["x", "y"])).partition(":")[0]
    "all label ids end in .0, such as '7.0'"
    >>> ids_read_as_numbers(LabelTable(["7.0", "7.1"], ["x", "y"]))
    ''
    """
    if not all(label_id.endswith(".0") and label_id[:-2].isdecimal() for label_id in labels.ids):
        return ""
    return (
        f"all label ids end in .0, such as '{labels.ids[0]}': has a program read them as numbers with a fraction? "
        "pandas does so where some are missing; before it writes the file: .astype('Int64')"
    )


def _is_weight(weight: float) -> bool:
    return 0 < weight <= FLOAT32_MAX and bool(np.float32(weight) > 0)


def _wrong(row_id: str, text: str) -> str:
    """What is wrong with an id and a text, empty when nothing is."""
    if not row_id:
        return "id is empty"
    if not text.strip():
        return "text is empty"
    try:
        size = max(len(text.encode()), len(row_id.encode()))
    except UnicodeEncodeError:
        return "lone surrogate in id or text"
    return f"text is longer than {MAX_TEXT_BYTES:,} bytes" if size > MAX_TEXT_BYTES else ""


def _examples(tally: Tally, table: str) -> str:
    return "; ".join(tally.table(table).examples) or "there is none"
