"""Parquet: `labels.parquet` with id and text; `train`, `dev`, `test.parquet` with id, text, labels, perhaps relevance.

The ids of queries may be left out. A cell of labels is a list of ids, one id, or a text as in CSV (`a|b`). Without
`labels.parquet` the labels are those that queries name, and the text of a label is its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xmc.data.importers.columns import hint_on_columns
from xmc.data.importers.jsonl import label_rows, labels_of, note_ids_as_texts, parse_query
from xmc.data.importers.rows import Place, QueryRow, Rows, Source
from xmc.data.importers.spreadsheet import labels_in, queries_of_rows
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import NAMED, as_id, not_there, the_one
from xmc.data.split_names import SPLIT_WORDS
from xmc.errors import DataError, first_few

EXPECTED = "train.parquet with text and labels and, if there are, labels.parquet, dev.parquet and test.parquet"
LABELS = "labels.parquet"
OWN = "positives"  # a column of the tables that xmc reads without an import
BATCH = 1000


def is_parquet(folder: Path) -> bool:
    """Whether the folder looks like this format, and not like a data set folder, which needs no import.

    A file that cannot be read is taken for one of it: opening it says why.
    """
    train = _splits(folder).get("train")
    try:
        return train is not None and OWN not in pq.read_schema(train).names
    except (OSError, pa.ArrowException):
        return True


def open_parquet(folder: Path, tally: Tally) -> Source:
    """Open a folder of such tables.

    Raises: DataError when a file or column is missing, or a file is damaged.
    """
    splits, labels = _splits(folder), folder / LABELS
    if "train" not in splits:
        raise not_there(folder, "train split", EXPECTED)
    notes: list[str] = []
    queries = {split: _read_queries(path, split, tally, notes) for split, path in splits.items()}
    if labels.is_file():
        return Source(label_rows(_rows(labels, ("id", "text"), tally, table="labels"), tally), queries, notes)
    note_ids_as_texts(folder, LABELS, notes)
    return Source(labels_of(_labels_named_by(splits), tally), queries, notes)


def _splits(folder: Path) -> dict[str, Path]:
    named = {
        split: the_one(folder, [path for word in words if (path := folder / f"{word}.parquet").is_file()])
        for split, words in SPLIT_WORDS.items()
    }
    return {split: path for split, path in named.items() if path is not None}


def _labels_named_by(splits: Mapping[str, Path]) -> Iterator[tuple[Place, Any]]:
    are_some, shown = False, ""
    for path in splits.values():
        for place, row in _rows(path, ("text", "labels"), Tally("skip"), table=""):
            labels = _labels_of(row["labels"])
            shown = shown or f", and {place} has {row['labels']!r:.80}"
            are_some = are_some or any(map(as_id, labels if isinstance(labels, list) else ()))
            yield place, labels
    if not are_some:
        raise DataError(
            f"no row of {' and '.join(map(str, splits.values()))} names a label{shown}.",
            hint="A cell of the column labels is a list of ids (texts or whole numbers), one id, or a text a|b.",
        )


def _read_queries(path: Path, split: str, tally: Tally, notes: list[str]) -> Iterator[QueryRow]:
    rows = _rows(path, ("text", "labels"), tally, table=split)
    return queries_of_rows(rows, split, tally, notes, parse=_parse, number=lambda place: place.row)


def _parse(place: Place, row: dict[str, Any]) -> QueryRow | tuple[str, ...]:
    cell, row["labels"] = row["labels"], _labels_of(row["labels"])
    if row["labels"] is None:
        return "'labels' is neither a list of ids nor an id", f"{cell!r:.80}"
    return parse_query(place, row)


def _labels_of(cell: Any) -> Any:
    """The label ids of a cell, as a list; None for what is none.

    >>> _labels_of(["a", 7]), _labels_of(7), _labels_of("a|b"), _labels_of(None), _labels_of(7.0)
    (['a', 7], [7], ['a', 'b'], [], None)
    """
    if isinstance(cell, str):
        return labels_in(cell)
    if isinstance(cell, list):
        return cell
    if cell is None:
        return []
    return None if as_id(cell) is None else [cell]


def _rows(path: Path, columns: Sequence[str], tally: Tally, *, table: str) -> Rows:
    """Yield (place, values by column) of a file that has these columns; rows are counted from 1."""
    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            if missing := [column for column in columns if column not in there]:
                first = next(file.iter_batches(1), None)
                raise _lacking(path, columns, missing, there, first.to_pylist()[0] if first else {})
            read = [name for name in ("id", "text", "labels", "relevance") if name in there]
            rows = (row for batch in file.iter_batches(BATCH, columns=read) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                tally.table(table).read += 1
                yield Place(str(path), number), row
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]:.200}.") from error


def _lacking(
    path: Path, columns: Sequence[str], missing: Sequence[str], there: Sequence[str], row: Mapping[str, Any]
) -> DataError:
    return DataError(
        f"{path}: it needs the columns {' and '.join(columns)}; it lacks {' and '.join(missing)} and has "
        f"{first_few(there, str, most=NAMED) or 'none'}.",
        hint=hint_on_columns(missing, there, row) or "Rename yours.",
    )
