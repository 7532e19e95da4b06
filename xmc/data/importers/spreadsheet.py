"""CSV and TSV: `labels.csv` with id and text; `train`, `dev`, `test.csv` with id, text, labels and perhaps relevance.

Several labels of a query are separated by `|`, or are a JSON list; blanks around the id of a label say nothing, where
it is named as where it is described. A list as Python or numpy prints it is a bad row: it would be taken for one label.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.data.importers.collect import NO_ROWS
from xmc.data.importers.csv_rows import read_table_rows
from xmc.data.importers.jsonl import label_rows, labels_of, note_ids_as_texts, parse_query
from xmc.data.importers.rows import LabelRow, Place, QueryRow, Rows, Source
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import (
    as_id,
    find_splits,
    find_text_file,
    not_there,
)
from xmc.errors import DataError

EXPECTED = "train.csv and, if there are, labels.csv, dev.csv and test.csv (or .tsv, each perhaps .gz or .xz)"
LABEL_FILES, SPLIT_FILES = ("labels.csv", "labels.tsv"), ("{}.csv", "{}.tsv")
SEPARATOR, UNUSUAL_SEPARATORS = "|", (",", ";")
PRINTED_LIST = re.compile(r"\[\s*['\"\d].*\]", re.DOTALL)  # ['a', 'b'] of Python, ['a' 'b'] or [1 2] of numpy


def is_spreadsheet(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return find_text_file(folder, *LABEL_FILES) is not None or "train" in find_splits(folder, *SPLIT_FILES)


def open_spreadsheet(folder: Path, tally: Tally) -> Source:
    """Open a folder of such tables; without one of labels the text of a label is its id.

    Raises: DataError when a file or column is missing, or a quote is never closed.
    """
    splits = find_splits(folder, *SPLIT_FILES)
    if "train" not in splits:
        raise not_there(folder, "train split", EXPECTED)
    notes: list[str] = []
    found = find_text_file(folder, *LABEL_FILES)
    queries = {split: _read_queries(path, split, tally, notes) for split, path in splits.items()}
    if found is None:
        note_ids_as_texts(folder, LABEL_FILES[0], notes)
        return Source(labels_of(_labels_named_by(splits.values(), notes), tally), queries, notes)
    return Source(read_label_cells(found, tally), queries, notes)


def read_label_cells(path: Path, tally: Tally) -> Iterator[LabelRow]:
    """Yield the labels of a file with the columns id and text. Raises: as `read_table_rows`."""
    rows = read_table_rows(path, ("id", "text"), table="labels", tally=tally)
    return label_rows(((place, row | {"id": row["id"].strip()}) for place, row in rows), tally)


def _labels_named_by(paths: Collection[Path], notes: list[str]) -> Iterator[tuple[Place, Any]]:
    """The labels of each row. Raises: DataError when no row has any."""
    are_some, rows, several, joined, shown = False, 0, 0, Counter[str](), ""
    skipped = Tally("skip")
    for path in paths:
        for place, row in read_table_rows(path, ("text", "labels"), table="", tally=skipped):
            labels, rows = labels_in(row["labels"]), rows + 1
            are_some = are_some or any(map(as_id, labels or ()))
            several += len(labels or ()) > 1
            shown = shown or (row["labels"].strip() and f", and {place} has {row['labels'][:80]!r}")
            joined.update(mark for mark in UNUSUAL_SEPARATORS if mark in row["labels"])
            yield place, labels
    if not rows and not skipped.table("").examples:
        raise DataError(f"{' and '.join(map(str, paths))} has no rows below the names of its columns.", hint=NO_ROWS)
    if not are_some:
        unread = [f" (one that cannot be read is {example})" for example in skipped.table("").examples[:1]]
        raise DataError(
            f"no row of {' and '.join(map(str, paths))} names a label{shown}{''.join(unread)}.",
            hint='A cell of the column labels reads a|b, or is a JSON list of strings and whole numbers: ["a", "b"].'
            + (" Files are read as UTF-8." if unread else ""),
        )
    for mark, some in joined.items() if not several else ():
        notes.append(
            f"every row has one label, and that of {counted(some, 'row has', 'rows has')} a '{mark}' in "
            "it: if that separates labels, write "
            f"'{SEPARATOR}'"
        )


def _read_queries(path: Path, split: str, tally: Tally, notes: list[str]) -> Iterator[QueryRow]:
    rows = read_table_rows(path, ("text", "labels"), table=split, tally=tally)
    return queries_of_rows(rows, split, tally, notes, parse=_parse, number=lambda place: tally.table(split).read)


def queries_of_rows(
    rows: Rows,
    split: str,
    tally: Tally,
    notes: list[str],
    *,
    parse: Callable[[Place, dict[str, Any]], QueryRow | tuple[str, ...]],
    number: Callable[[Place], int],
) -> Iterator[QueryRow]:
    """Yield what `parse` makes of rows, or count why it makes none; where there is no column of ids, `number` does."""
    is_numbered = False
    for place, row in rows:
        if "id" not in row:
            is_numbered, row["id"] = True, f"{split}-{number(place):06}"
        query = parse(place, row)
        if isinstance(query, QueryRow):
            yield query
        else:
            tally.bad(split, place, *query)
    if is_numbered:
        notes.append(f"{split}: there is no column 'id', so the queries are called {split}-000001 and so on")


def _parse(place: Place, row: dict[str, Any]) -> QueryRow | tuple[str, ...]:
    cell, row["labels"] = row["labels"], labels_in(row["labels"])
    if row["labels"] is None:
        return "'labels' is a list in brackets, but not JSON", repr(cell[:80])
    if weights := row.pop("relevance", "").strip():
        row["relevance"] = _listed(weights, _number)
    return parse_query(place, row)


def labels_in(cell: str) -> Any:
    """The label ids of a cell; None for a list that is not JSON.

    >>> labels_in("A10| B2|"), labels_in('["a|b", "c "]'), labels_in(" "), labels_in("['a', 'b']")
    (['A10', 'B2'], ['a|b', 'c'], [], None)
    """
    if PRINTED_LIST.fullmatch(cell.strip()) is not None and _json_in(cell) is None:
        return None
    labels = (label.strip() if isinstance(label, str) else label for label in _listed(cell, str))
    return [label for label in labels if label != ""]  # a|b| is written by who joins cells of which some are empty


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _listed(cell: str, read: Callable[[str], Any]) -> Any:
    if (found := _json_in(cell)) is not None:
        return found
    return [read(part.strip()) for part in cell.split(SEPARATOR)] if cell.strip() else []


def _json_in(cell: str) -> Any:
    """The JSON list of a cell; None for a cell that is none."""
    if cell.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(cell)
    return None
