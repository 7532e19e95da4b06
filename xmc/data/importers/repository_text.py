"""The raw-text layouts of the Extreme Classification Repository (the LF- data sets).

Lines: `trn_X.txt`, `tst_X.txt` (a text a line), `Y.txt` (a label text a line), and `trn_X_Y.txt`, `tst_X_Y.txt`
(header `rows columns`, then `label:value` pairs a line). JSON: `lbl.json`, `trn.json`, `tst.json` with
{uid, title, content, target_ind, target_rel}. Label ids are the label's row number from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.data.importers.rows import LabelRow, Place, QueryRow, Source
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import (
    as_id,
    decoded,
    find_splits,
    find_text_file,
    missing_key,
    not_there,
    read_json_rows,
    read_raw_lines,
)
from xmc.errors import DataError

EXPECTED = "trn_X.txt, trn_X_Y.txt and Y.txt, or lbl.json and trn.json (each perhaps .gz or .xz)"


def is_repository_text(folder: Path) -> bool:
    """Whether the folder looks like one of these layouts."""
    return find_text_file(folder, "trn_X.txt", "lbl.json") is not None


def open_repository_text(folder: Path, tally: Tally) -> Source:
    """Open a folder of either layout.

    Raises: DataError when a file is missing.
    """
    notes = [
        f"{path.name} is not imported: pairs to leave out of evaluation are not part of a data set folder"
        for path in sorted(folder.glob("*filter_labels*"))
    ]
    labels = find_text_file(folder, "lbl.json")
    if labels is not None:
        files = find_splits(folder, "{}.json")
        splits = {split: _read_json_queries(path, split, tally) for split, path in files.items()}
        rows = _read_json_labels(labels, tally)
    else:
        labels, texts, relevance = find_text_file(folder, "Y.txt"), find_splits(folder, "{}_X.txt"), _pairs(folder)
        files = {split: path for split, path in texts.items() if split in relevance}
        splits = {split: _read_lines_of(path, relevance[split], split, tally) for split, path in files.items()}
        rows = _read_line_labels(labels, [relevance[split] for split in files], tally) if labels else iter(())
    if labels is None or "train" not in files:
        raise not_there(folder, "train split" if labels else "labels", EXPECTED)
    return Source(rows, splits, notes)


def _pairs(folder: Path) -> dict[str, Path]:
    return find_splits(folder, "{}_X_Y.txt")


def _read_line_labels(path: Path, pairs: Iterable[Path], tally: Tally) -> Iterator[LabelRow]:
    """Yield the labels. Raises: DataError when there are not as many as the files of pairs have columns."""
    last = 0
    for place, raw in read_raw_lines(path):
        last, text = place.row, decoded(place, raw)
        tally.table("labels").read += 1
        if isinstance(text, str):
            yield LabelRow(place, str(last - 1), text)
        else:
            tally.bad("labels", place, *text)
    for other in pairs:
        _, columns = _header(*next(read_raw_lines(other), (Place(str(other), 1), b"")))
        if columns != last:
            raise DataError(
                f"{path} has {counted(last, 'label')}, the header of {other.name} says {columns}.",
                hint="Is the file complete?",
            )


def _header(place: Place, raw: bytes) -> tuple[int, int]:
    """Rows and columns, as the first line of a file of pairs has them. Raises: DataError for another line."""
    header = raw.decode("utf-8-sig", errors="replace").strip()
    parts = header.split()
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise DataError(f"{place}: {header[:80]!r} is not a header `rows columns`.")
    return int(parts[0]), int(parts[1])


def _read_lines_of(path: Path, pairs: Path, split: str, tally: Tally) -> Iterator[QueryRow]:
    """Join texts and label lines by row number; a row whose text or labels are bad is counted and passed over."""
    for line, row in zip_longest(read_raw_lines(path), _read_pairs(pairs)):
        if line is None or row is None:
            after = (row[0].row - 1 if row else line[0].row) - 1
            raise DataError(f"{path} and {pairs.name} differ in their number of rows after row {after}.")
        (place, raw), (pairs_place, found) = line, row
        text = decoded(place, raw)
        tally.table(split).read += 1
        if not isinstance(text, str):
            tally.bad(split, place, *text)
        elif isinstance(found, tuple):
            tally.bad(split, pairs_place, *found)
        else:
            label_ids, weights = [label for label, _ in found], [value for _, value in found]
            yield QueryRow(place, f"{split}-{place.row - 1}", text, label_ids, weights)


def _read_pairs(path: Path) -> Iterator[tuple[Place, list[tuple[str, float]] | tuple[str, str]]]:
    """Yield (place, label ids and weights, or what is wrong) of every row of a `label:value` file."""
    rows, last = 0, 0
    for place, raw in read_raw_lines(path):
        if place.row == 1:
            rows, _ = _header(place, raw)
            continue
        last, line = place.row - 1, decoded(place, raw)
        yield place, _parse_pairs(line) if isinstance(line, str) else line
    if last != rows:
        raise DataError(f"{path} has {counted(last, 'row')}, its header says {rows}.", hint="Is the file complete?")


def _parse_pairs(line: str) -> list[tuple[str, float]] | tuple[str, str]:
    try:
        return [(str(int(label)), float(value)) for label, value in (pair.split(":") for pair in line.split())]
    except ValueError:
        return "not `label:value` pairs", repr(line[:50])


def _read_json_labels(path: Path, tally: Tally) -> Iterator[LabelRow]:
    for place, row in read_json_rows(path, table="labels", tally=tally):
        yield LabelRow(place, str(tally.table("labels").read - 1), _text(row))  # an empty line is no row


def _read_json_queries(path: Path, split: str, tally: Tally) -> Iterator[QueryRow]:
    return tally.good(split, read_json_rows(path, table=split, tally=tally), _parse)


def _parse(place: Place, row: dict[str, Any]) -> QueryRow | tuple[str, ...]:
    if missing := missing_key(row, "uid", "target_ind"):
        return missing
    query_id, targets, relevance = as_id(row.get("uid")), row.get("target_ind"), row.get("target_rel")
    if query_id is None:
        return ("'uid' must be a string or a whole number",)
    if not isinstance(targets, list) or not all(type(target) is int for target in targets):
        return ("'target_ind' must be a list of label row numbers",)
    if relevance is not None and not _are_numbers(relevance, len(targets)):
        return ("'target_rel' must be a list of numbers, as long as 'target_ind'",)
    return QueryRow(place, query_id, _text(row), [str(target) for target in targets], relevance)


def _are_numbers(values: Any, length: int) -> bool:
    return isinstance(values, list) and len(values) == length and all(type(value) in (int, float) for value in values)


def _text(row: dict[str, Any]) -> str:
    """Title and content; a part that is not a string is taken as missing, an empty whole is refused later."""
    parts = [part.strip() for part in (row.get("title"), row.get("content")) if isinstance(part, str)]
    return " ".join(part for part in parts if part)
