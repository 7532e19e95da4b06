"""JSON lines: `labels.jsonl` with {id, text}; `train`, `dev`, `test.jsonl` with {id, text, labels, relevance?}.

Without `labels.jsonl` the labels are those that queries name, and the text of a label is its id.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xmc.data.importers.rows import LabelRow, Place, QueryRow, Rows, Source
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import (
    NAMED,
    as_id,
    contents_of,
    differs_by_case,
    find_splits,
    find_text_file,
    missing_key,
    not_there,
    read_json_rows,
)
from xmc.errors import DataError

EXPECTED = "train.jsonl and, if there are, labels.jsonl, dev.jsonl and test.jsonl (each perhaps .gz or .xz)"
LABELS = "labels.jsonl"


def is_jsonl(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return find_text_file(folder, LABELS) is not None or "train" in find_splits(folder, "{}.jsonl")


def open_jsonl(folder: Path, tally: Tally) -> Source:
    """Open a folder of JSON lines.

    Raises: DataError when there is no train split.
    """
    labels, splits = find_text_file(folder, LABELS), find_splits(folder, "{}.jsonl")
    if "train" not in splits:
        raise not_there(folder, "train split", EXPECTED)
    notes: list[str] = []
    queries = {split: _read_queries(path, split, tally, notes) for split, path in splits.items()}
    if labels is not None:
        return Source(read_label_rows(labels, tally), queries, notes)
    note_ids_as_texts(folder, LABELS, notes)
    return Source(labels_of(_labels_named_by(splits, tally), tally), queries, notes)


def note_ids_as_texts(folder: Path, labels: str, notes: list[str]) -> None:
    """Note that there is no file `labels`. Raises: DataError where there is one in capital letters."""
    if hint := differs_by_case(folder, labels):
        raise DataError(f"{folder} has no {labels}; it holds {contents_of(folder)}.", hint=hint)
    notes.append(f"there is no {labels}, so the text of a label is its id")


def labels_of(rows: Iterable[tuple[Place, Any]], tally: Tally) -> Iterator[LabelRow]:
    """The labels that (place, list of labels) name, each once, in the order in which they are first named."""
    seen: set[str] = set()
    for place, labels in rows:
        for label in map(as_id, labels if isinstance(labels, list) else ()):
            if label and label not in seen:
                seen.add(label)
                tally.table("labels").read += 1
                yield LabelRow(place, label, label)


def _labels_named_by(splits: Mapping[str, Path], tally: Tally) -> Iterator[tuple[Place, Any]]:
    """The labels of each query; a row that is none stops this as it would the import, and is counted there only.

    Raises: DataError when no row has any.
    """
    are_some, first = False, ""
    for split, path in splits.items():
        for place, row in read_json_rows(path, table="", tally=Tally(tally.on_bad_row)):
            query = parse_query(place, row, called="of any name")
            if not isinstance(query, QueryRow):
                Tally(tally.on_bad_row).bad(split, place, *query)
            labels = row.get("labels")
            are_some = are_some or any(map(as_id, labels if isinstance(labels, list) else ()))
            first = first or f", and {place} has {_shown(row, 'labels')}"
            yield place, labels
    if not are_some:
        raise DataError(
            f"no line of {' and '.join(map(str, splits.values()))} names a label: its ids are looked for in the list "
            f"'labels'{first}.",
            hint='A line reads {"text": "round fruit", "labels": ["apple"]}.',
        )


def _shown(row: Mapping[str, Any], key: str) -> str:
    """What an object has under the key, or which keys it has instead, in few words."""
    if key in row:
        return f"{key!r}: {reprlib.repr(row[key])}"
    return ", ".join(repr(there[:50]) for there in [*row][:NAMED]) or "nothing"


def read_label_rows(path: Path, tally: Tally) -> Iterator[LabelRow]:
    """Yield the labels of a file of {id, text}."""
    return label_rows(read_json_rows(path, table="labels", tally=tally), tally)


def label_rows(rows: Rows, tally: Tally) -> Iterator[LabelRow]:
    """Yield the labels of objects {id, text}; what is none is a bad row."""
    return tally.good("labels", rows, parse_label)


def _read_queries(path: Path, split: str, tally: Tally, notes: list[str]) -> Iterator[QueryRow]:
    is_numbered = not _has_ids(path)

    def parse(place: Place, row: dict[str, Any]) -> QueryRow | tuple[str, ...]:
        return parse_query(place, row, called=f"{split}-{place.row:06}" if is_numbered else "")

    yield from tally.good(split, read_json_rows(path, table=split, tally=tally), parse)
    if is_numbered:
        notes.append(f"{split}: no query has an id, so they are called by their lines: {split}-000001 and so on")


def _has_ids(path: Path) -> bool:
    """Whether any query has an id: one that has none among others is a mistake, and is refused as such."""
    rows = read_json_rows(path, table="", tally=Tally("skip"))
    return any(row.get("id") is not None for _, row in rows)


def parse_label(place: Place, row: dict[str, Any], *, called: str = "") -> LabelRow | tuple[str, ...]:
    """The label of an object {id, text}, or what is wrong with it; one without an id may be `called` so.

    >>> parse_label(Place("labels.jsonl", 1), {"id": 7, "text": "seven"}).id
    '7'
    >>> parse_label(Place("labels.jsonl", 1), {"id": 7})
    ("no key 'text'", 'it has id')
    """
    if missing := missing_key(row, *(() if called else ("id",)), "text"):
        return missing
    label_id, text = called or as_id(row.get("id")), row.get("text")
    if label_id is None:
        return "'id' must be a string or a whole number", f"got {reprlib.repr(row.get('id'))}"
    if not isinstance(text, str):
        return "'text' must be a string", f"got {type(text).__name__}"
    return LabelRow(place, label_id, text)


def parse_query(place: Place, row: dict[str, Any], *, called: str = "") -> QueryRow | tuple[str, ...]:
    """The query of an object {id, text, labels, relevance?}, or what is wrong with it; `called` as in `parse_label`."""
    start = parse_label(place, row, called=called)
    if not isinstance(start, LabelRow):
        return start
    if missing := missing_key(row, "labels"):
        return missing
    labels, relevance = row.get("labels"), row.get("relevance")
    if not isinstance(labels, list):
        return "'labels' must be a list of label ids", f"got {type(labels).__name__}"
    label_ids = [label_id for label in labels if (label_id := as_id(label)) is not None]
    if len(label_ids) != len(labels):
        return "'labels' must be a list of label ids, strings or whole numbers", f"got {reprlib.repr(labels)}"
    if relevance is None:
        return QueryRow(place, start.id, start.text, label_ids)
    if not isinstance(relevance, list) or not all(type(weight) in (int, float) for weight in relevance):
        return "'relevance' must be a list of numbers", f"got {reprlib.repr(relevance)}"
    if len(relevance) != len(label_ids):
        return "'relevance' must be as long as 'labels'", f"{len(relevance):,} and {len(label_ids):,}"
    return QueryRow(place, start.id, start.text, label_ids, relevance)
