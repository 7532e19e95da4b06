"""CSV and TSV: `labels.csv` with id and text; `train`, `dev`, `test.csv` with id, text, labels and perhaps relevance.

The first line names the columns, in any order; others are passed over, and so is a line `sep=;` of Excel before it.
Several labels of a query are separated by `|`, or are a JSON list; blanks around the id of a label say nothing, where
it is named as where it is described. A list as Python or numpy prints it is a bad row: it would be taken for one label.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from xmc.data.importers.collect import NO_ROWS
from xmc.data.importers.columns import hint_on_columns
from xmc.data.importers.jsonl import label_rows, labels_of, note_ids_as_texts, parse_query
from xmc.data.importers.rows import LabelRow, Place, QueryRow, Source
from xmc.data.importers.tally import SAVE_AS_UTF8, Tally
from xmc.data.importers.text_files import (
    MAX_LINE_BYTES,
    NAMED,
    as_id,
    decoded,
    find_splits,
    find_text_file,
    not_there,
    read_raw_lines,
)
from xmc.errors import DataError

EXPECTED = "train.csv and, if there are, labels.csv, dev.csv and test.csv (or .tsv, each perhaps .gz or .xz)"
LABEL_FILES, SPLIT_FILES = ("labels.csv", "labels.tsv"), ("{}.csv", "{}.tsv")
DELIMITERS = (",", ";", "\t")
SEPARATOR, UNUSUAL_SEPARATORS = "|", (",", ";")
QUOTES = 'A cell that begins with a quote must end with one, and a quote within it stands twice: "a ""b"" c".'
OTHER_NAMES = "Columns are separated by commas, semicolons or tabs. Rename yours, or put a line with their names first."
LINE_ENDS = "Save the file with line ends LF or CR LF, and put a cell that holds such a character in quotes."
NO_CSV = "not CSV"
COLUMNS = ("id", "text", "labels", "relevance")
DELIMITER_LINE = re.compile(r'"?sep=.?"?', re.IGNORECASE)  # for Excel, before the names of the columns
PRINTED_LIST = re.compile(r"\[\s*['\"\d].*\]", re.DOTALL)  # ['a', 'b'] of Python, ['a' 'b'] or [1 2] of numpy
Rows = Iterator[tuple[Place, dict[str, Any]]]


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
            f"every row has one label, and that of {some:,} rows has a '{mark}' in it: if that separates labels, write "
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


def read_table_rows(path: Path, columns: Sequence[str], *, table: str, tally: Tally) -> Rows:
    """Yield (place, cells by column) of a file whose first line names the columns, among them these.

    The delimiter is the one of comma, semicolon and tab that makes these columns of the first line. A row stands at its
    first line; an empty line says nothing. A row is bad as a whole when one of its lines is not UTF-8, or when it is no
    CSV and one line; after several lines nobody knows where the next row begins.
    Raises: DataError for a missing column, a first line that is not UTF-8, and for what is no CSV over several lines,
    such as a quote that is never closed.
    """
    lines = _Lines(read_raw_lines(path))
    first_line = next(lines, "")
    if DELIMITER_LINE.fullmatch(first_line.removesuffix("\n")):
        first_line = next(lines, "")
    if lines.bad:
        place, *reason = lines.bad
        raise DataError(f"{place}: {': '.join(reason)}.", hint=SAVE_AS_UTF8)
    header, delimiter = _header(path, first_line, columns, lines)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.first = lines.bad = None
        try:
            with _long_cells():
                cells = next(rows, None)
        except csv.Error as error:
            if lines.first is None or lines.first != lines.last:
                raise _no_csv(str(lines.first or path), error) from error
            tally.table(table).read += 1
            reason, hint = _why_no_csv(error)
            tally.bad(table, lines.first, *reason, hint=hint)
            continue
        if cells is None:
            return
        if not cells or lines.first is None:
            continue
        tally.table(table).read += 1
        if lines.bad:
            tally.bad(table, *lines.bad)
        elif len(cells) == len(header):
            yield lines.first, dict(zip(header, cells, strict=True))
        else:
            tally.bad(table, lines.first, "not as many cells as columns", f"{len(cells)} and {len(header)}")


class _Lines:
    """Lines for `csv.reader`, which knows of a row the places of first and last line, and of one that is not UTF-8.

    Such a line is passed on all the same, for a quote that opens or closes in it counts.
    """

    def __init__(self, lines: Iterator[tuple[Place, bytes]]) -> None:
        self._lines = lines
        self.first: Place | None = None
        self.last: Place | None = None
        self.bad: tuple[Place, str, str] | None = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        place, line = next(self._lines)
        self.first, self.last = self.first or place, place
        text = decoded(place, line)
        if isinstance(text, tuple):
            self.bad = self.bad or (place, *text)
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        return text + "\n"


def _header(path: Path, line: str, columns: Sequence[str], more: Iterator[str]) -> tuple[list[str], str]:
    if "\0" in line:
        raise DataError(f"{path}:1: there are zero bytes in it, as UTF-16 has them.", hint=SAVE_AS_UTF8)
    found: list[str] = []
    for delimiter in DELIMITERS:
        try:
            cells = _cells(line, delimiter)
        except csv.Error as error:
            raise _no_csv(f"{path}:1", error) from error
        if all(column in cells for column in columns):
            _require_once(path, cells)
            return cells, delimiter
        found = max(found, cells, key=len)
    missing = [column for column in columns if column not in found]
    raise DataError(
        f"{path}: the first line must name the columns {', '.join(columns)}; it lacks {', '.join(missing)} and has "
        f"{', '.join(cell[:50] for cell in found[:NAMED]) or 'nothing'}.",
        hint=hint_on_columns(missing, found, _first_row(found, next(more, ""))) or OTHER_NAMES,
    )


def _first_row(names: Sequence[str], line: str) -> dict[str, str]:
    """The cells of the row below the names of the columns; none where it is no row of as many."""
    for delimiter in DELIMITERS:
        with contextlib.suppress(csv.Error):
            if len(cells := _cells(line, delimiter)) == len(names):
                return dict(zip(names, cells, strict=True))
    return {}


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line, without blanks around them. Raises: csv.Error."""
    with _long_cells():
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _no_csv(place: str, error: csv.Error) -> DataError:
    reason, hint = _why_no_csv(error)
    return DataError(f"{place}: {': '.join(reason)}.", hint=hint)


def _why_no_csv(error: csv.Error) -> tuple[tuple[str, str], str]:
    """The reason with its detail, and what to do."""
    if "new-line character" in str(error):  # the rest of that message is for programmers
        return (NO_CSV, "a carriage return without a line feed behind it"), LINE_ENDS
    return (NO_CSV, str(error)), QUOTES


def _require_once(path: Path, header: Sequence[str]) -> None:
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if twice:
        raise DataError(f"{path}: the column {twice[0]} stands twice.", hint="Rename one of them.")


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Cells as long as lines may be, for the moment: the limit is one of the whole process."""
    before = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)
