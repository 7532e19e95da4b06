"""Files of labels to keep elsewhere, and of label ids to remove or to search among."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from xmc.data.importers.csv_rows import DELIMITERS, read_table_rows
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import as_id, missing_key, read_json_rows, read_lines
from xmc.data.shards import SUFFIXES, read_table, write_table
from xmc.data.tables import LabelTable, label_table_to_arrow
from xmc.errors import DataError
from xmc.store import atomic_writer


def is_csv(path: Path) -> bool:
    """Whether the name is one of CSV or TSV."""
    return bool({".csv", ".tsv"} & {*path.suffixes})


def write_label_file(path: Path, labels: Mapping[str, str]) -> None:
    """Write labels, id to text, for `read_label_file`: a table by its suffix, else JSON lines; all or nothing.

    JSON lines are compressed where the name ends in .gz or .xz.
    Raises: DataError when there is something of that name, or it is one of CSV; OSError (disk full, permission) naming
    the path.
    """
    if os.path.lexists(path):
        raise DataError(f"{path} is there already.", hint="Give another name, or write it away yourself: ... > FILE")
    if is_csv(path):
        raise DataError(f"{path}: labels are not written as CSV.", hint="Name it .parquet, .arrow or .jsonl.")
    if path.suffix in SUFFIXES:
        write_table(path, label_table_to_arrow(LabelTable(list(labels), list(labels.values()))))
        return
    with atomic_writer(path) as file, _compressed(file, path.suffix) as lines:
        lines.writelines(line.encode() for line in label_lines(labels))


def _compressed(file: BinaryIO, suffix: str) -> contextlib.AbstractContextManager[BinaryIO]:
    """What a file of this suffix is written through; the file itself stays open."""
    if suffix == ".gz":  # without name and time: the same labels are the same bytes
        return cast(
            contextlib.AbstractContextManager[BinaryIO], gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        )
    if suffix == ".xz":
        return cast(contextlib.AbstractContextManager[BinaryIO], lzma.open(file, "wb"))
    return contextlib.nullcontext(file)


def label_lines(labels: Mapping[str, str]) -> Iterator[str]:
    """Labels as JSON lines of {id, text}."""
    return (json.dumps({"id": label_id, "text": text}, ensure_ascii=False) + "\n" for label_id, text in labels.items())


def read_id_file(path: Path) -> list[str]:
    """Label ids: the column label_id of a Parquet or Arrow table, `id` of CSV or JSON lines, else one id a line.

    CSV is told by the name and a first line that names columns, JSON lines by the name, .jsonl, or else by the first
    line, an object with `id`.
    Raises: DataError naming file and row for a file or row that cannot be read.
    """
    require_file(path)
    if path.suffix in SUFFIXES:
        table = read_table(path)
        if "label_id" not in table.column_names:
            raise DataError(f"{path}: column 'label_id' is missing (it has: {', '.join(table.column_names)}).")
        return [_id_of_row(path, row, value) for row, value in enumerate(table.column("label_id").to_pylist())]
    with no_importer():
        if is_csv(path) and _names_columns(path):
            rows = read_table_rows(path, ("id",), table="labels", tally=Tally("error"))
            return [row["id"].strip() for _, row in rows]
        return _ids_of_json(path) if _is_json(path) else _ids_of_lines(path)


def _id_of_row(path: Path, row: int, value: Any) -> str:
    label_id = as_id(value)
    if not label_id:
        raise DataError(f"{path}: row {row} of 'label_id' must be a string or a whole number, got {value!r}.")
    return label_id


def _names_columns(path: Path) -> bool:
    first = next(_lines(path), "")
    return first.strip('"') == "id" or any(delimiter in first for delimiter in DELIMITERS)


def _is_json(path: Path) -> bool:
    if ".jsonl" in path.suffixes:
        return True
    try:
        row = json.loads(next(_lines(path), ""))
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and "id" in row


def _ids_of_lines(path: Path) -> list[str]:
    return list(_lines(path))


def _lines(path: Path) -> Iterator[str]:
    """The lines that are not blank, without blanks around them."""
    return (line.strip() for _, line in read_lines(path, table="labels", tally=Tally("error")) if line.strip())


def _ids_of_json(path: Path) -> list[str]:
    ids = []
    for place, row in read_json_rows(path, table="labels", tally=Tally("error")):
        label_id = as_id(row.get("id"))
        if missing := missing_key(row, "id"):
            raise DataError(f"{place}: {': '.join(missing)}.")
        if label_id is None:
            raise DataError(f"{place}: 'id' must be a string or a whole number.")
        ids.append(label_id)
    return ids


@contextlib.contextmanager
def no_importer() -> Iterator[None]:
    """Errors of the importers' readers, without their hint at an option of `xmc import`."""
    try:
        yield
    except DataError as error:
        raise DataError(error.message) from error


def require_file(path: Path) -> None:
    """Refuse what is no file. Raises: DataError."""
    if path.is_dir():
        raise DataError(f"'{path}' is a folder, expected a file.")
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is a pipe, a socket or a device.", hint="Write what comes from it into a file first.")
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
