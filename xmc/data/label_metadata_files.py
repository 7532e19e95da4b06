"""Files of labels to add, with the metadata that are to be kept beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.data.importers.csv_rows import read_table_rows
from xmc.data.importers.jsonl import parse_label
from xmc.data.importers.rows import LabelRow, Place
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import read_json_rows
from xmc.data.label_files import is_csv, no_importer, require_file
from xmc.data.schemas import columns_of
from xmc.data.shards import SUFFIXES, column_names, read_table
from xmc.data.tables import read_labels
from xmc.errors import DataError, first_few

METADATA = "metadata"


@dataclass
class LabelFile:
    """Labels, id to text, and metadata by id, None where the file has none; `unused` are the names of all else."""

    texts: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Mapping[str, Any]] | None = None
    unused: dict[str, None] = field(default_factory=dict)

    def notes(self, path: Path) -> tuple[str, ...]:
        """What is to be known of how the file was read."""
        unused = first_few([*self.unused], repr)
        without = f"{path}: not used were {unused}. A label has an id, a text and, where they are given, metadata."
        beside = f"metadata of {counted(len(self.metadata or ()), 'label')} are kept as they are in {path}."
        return (*((beside,) if self.metadata is not None else ()), *((without,) if unused else ()))

    def keep(self, place: object, label_id: str, metadata: Any) -> None:
        """Take metadata, a JSON object or its text, for a label; None for nothing. Raises: DataError for others."""
        self.metadata = self.metadata or {}
        if isinstance(metadata, str):
            try:
                metadata = json.loads(metadata) if metadata.strip() else None
            except (ValueError, RecursionError) as error:
                raise DataError(f"{place}: '{METADATA}' is not JSON: {error}.") from None
        if metadata is None:
            return
        if not isinstance(metadata, Mapping):
            raise DataError(
                f"{place}: '{METADATA}' must be a JSON object, got {type(metadata).__name__}.",
                hint='Write {"page": 3}.',
            )
        self.metadata[label_id] = metadata


def read_label_file(path: Path) -> LabelFile:
    """A Parquet or Arrow table with label_id and text, CSV with id and text, else JSON lines of {id, text}.

    Each may have `metadata`: JSON objects; in a table also a struct, whose fields are left out where they are null.
    Raises: DataError naming file and row for a file or row that cannot be read, and for an id that stands twice.
    """
    require_file(path)
    return _of_table(path) if path.suffix in SUFFIXES else _of_rows(path)


def _of_table(path: Path) -> LabelFile:
    labels = read_labels([path])
    found = LabelFile(dict(zip(labels.ids, labels.texts, strict=True)))
    names = column_names(path)
    found.unused = dict.fromkeys(name for name in names if name not in (*columns_of("labels"), METADATA))
    if METADATA in names:
        column = read_table(path, kind="labels", also=METADATA).column(METADATA).to_pylist()
        for row, (label_id, kept) in enumerate(zip(labels.ids, column, strict=True)):
            found.keep(f"{path}: row {row}", label_id, _without_nulls(kept) if isinstance(kept, dict) else kept)
    return found


def _without_nulls(value: Any) -> Any:
    """A value of a struct without the fields that another row has and this one has not."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _of_rows(path: Path) -> LabelFile:
    found, tally = LabelFile(), Tally("error")

    def parse(place: Place, row: dict[str, Any]) -> LabelRow | tuple[str, ...]:
        label = parse_label(place, row)
        if not isinstance(label, LabelRow):
            return label
        if label.id in found.texts:
            raise DataError(f"{place}: label '{label.id}' stands there twice.")
        found.texts[label.id] = label.text
        found.unused |= dict.fromkeys(key for key in row if key not in ("id", "text", METADATA))
        if METADATA in row:
            found.keep(place, label.id, row[METADATA])
        return label

    with no_importer():
        rows = read_json_rows(path, table="labels", tally=tally)
        if is_csv(path):
            cells = read_table_rows(path, ("id", "text"), table="labels", tally=tally)
            rows = ((place, row | {"id": row["id"].strip()}) for place, row in cells)
        for _ in tally.good("labels", rows, parse):
            pass
    return found
