"""CSV and TSV as rows of cells by the names of the columns, each with the line of the file where it begins.

The first line names the columns, in any order; others are passed over, and so is a line `sep=;` of Excel before it.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xmc.data.importers.columns import hint_on_columns
from xmc.data.importers.rows import Place, Rows
from xmc.data.importers.tally import SAVE_AS_UTF8, Tally
from xmc.data.importers.text_files import MAX_LINE_BYTES, NAMED, decoded, read_raw_lines
from xmc.errors import DataError

DELIMITERS = (",", ";", "\t")
QUOTES = 'A cell that begins with a quote must end with one, and a quote within it stands twice: "a ""b"" c".'
OTHER_NAMES = "Columns are separated by commas, semicolons or tabs. Rename yours, or put a line with their names first."
LINE_ENDS = "Save the file with line ends LF or CR LF, and put a cell that holds such a character in quotes."
NO_CSV = "not CSV"
COLUMNS = ("id", "text", "labels", "relevance")
DELIMITER_LINE = re.compile(r'"?sep=.?"?', re.IGNORECASE)  # for Excel, before the names of the columns


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
            tally.bad(table, lines.first, "not as many cells as columns", f"{len(cells):,} and {len(header):,}")


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
