"""Hugging Face `datasets` saved with `DatasetDict.save_to_disk`: columns `id` (optional), `text`, `labels`.

Splits are train, dev or validation, and test; labels stand in a split `labels` {id, text}, in a folder or a file
`labels.jsonl` beside the splits, or are the class names of `labels`, if that column is a sequence of ClassLabel.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from xmc.data.importers.jsonl import label_rows, parse_query, read_label_rows
from xmc.data.importers.rows import LabelRow, Place, QueryRow, Rows, Source
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import find_text_file, not_there
from xmc.data.split_names import SPLIT_WORDS
from xmc.errors import DataError

EXPECTED = (
    "splits train (and dev or validation, test) with columns text and labels, and a split labels with id and text"
)
BATCH = 1000


def is_huggingface(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return (folder / "dataset_dict.json").is_file()


def open_huggingface(folder: Path, tally: Tally) -> Source:
    """Open a saved DatasetDict.

    Raises: DataError when `datasets` is not installed, the folder is not one it can open, or a split is missing.
    """
    saved = _load(folder)
    if not isinstance(saved, dict):
        raise not_there(folder, "splits", EXPECTED)
    splits = {}
    for split, words in SPLIT_WORDS.items():
        names = [word for word in words if word in saved]
        if len(names) > 1:
            raise DataError(f"{folder} has splits {' and '.join(names)}.", hint="Leave one of them.")
        if names:
            splits[split] = saved[names[0]]
    known = {"labels", *(word for words in SPLIT_WORDS.values() for word in words)}
    notes = [
        f"the split '{name}' is none of train, dev, test and is not imported" for name in saved if name not in known
    ]
    if "train" not in splits:
        raise not_there(folder, "train split", f"{EXPECTED}; it has {', '.join(saved)}")
    class_names = _class_names(splits["train"])
    labels = _read_labels(folder, saved, class_names, tally)
    return Source(labels, {name: _read_split(folder, name, rows, tally) for name, rows in splits.items()}, notes)


def _load(folder: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "this format needs the package `datasets`.", hint="Install it: pip install 'xmc-engine[datasets]'"
        ) from error
    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # the library raises what its parsers raise, for damage of any kind
        raise DataError(f"{folder} cannot be opened by `datasets`: {str(error)[:200]}.") from error


def _class_names(split: Any) -> list[str] | None:
    feature = getattr(split.features.get("labels"), "feature", None)
    return getattr(feature, "names", None)


def _read_labels(folder: Path, saved: Any, class_names: list[str] | None, tally: Tally) -> Iterator[LabelRow]:
    file = find_text_file(folder, "labels.jsonl")
    if "labels" in saved:
        rows = _rows(folder, "labels", saved["labels"])
    elif file is not None:
        return read_label_rows(file, tally)
    elif (folder / "labels").is_dir():
        rows = _rows(folder, "labels", _load(folder / "labels"))
    elif class_names is not None:
        rows = (
            (Place(f"{folder}/classes", number), {"id": name, "text": name})
            for number, name in enumerate(class_names, start=1)
        )
    else:
        raise not_there(folder, "labels", EXPECTED)
    return label_rows(_counted(rows, "labels", tally), tally)


def _read_split(folder: Path, split: str, saved: Any, tally: Tally) -> Iterator[QueryRow]:
    class_names = _class_names(saved)

    def parse(place: Place, row: dict[str, Any]) -> QueryRow | tuple[str, ...]:
        if class_names is not None and isinstance(row.get("labels"), list):
            row["labels"] = [
                class_names[label] if label in range(len(class_names)) else label for label in row["labels"]
            ]
        return parse_query(place, row, called="" if "id" in row else f"{split}-{place.row - 1}")

    return tally.good(split, _counted(_rows(folder, split, saved), split, tally), parse)


def _counted(rows: Rows, table: str, tally: Tally) -> Rows:
    for row in rows:
        tally.table(table).read += 1
        yield row


def _rows(folder: Path, split: str, saved: Any) -> Rows:
    numbers = count(1)
    for batch in saved.with_format("arrow").iter(batch_size=BATCH):
        for row in batch.to_pylist():
            yield Place(f"{folder}/{split}", next(numbers)), row
