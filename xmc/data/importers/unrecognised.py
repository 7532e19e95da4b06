"""What to do with a folder that is in no known format, by the files that lie in it."""

from __future__ import annotations

import json
from pathlib import Path

from xmc.data.split_names import SPLIT_WORDS
from xmc.errors import first_few

WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods")
TABLES = (".parquet", ".arrow")
OTHER_NAME = (".csv", ".tsv", ".jsonl", ".parquet")
FIRST_BYTES = 1 << 20


def what_to_do(folder: Path) -> str:
    """One sentence on the first file that one can be said of, those that are called like a split first; '' for none.

    >>> what_to_do(Path("no/such/folder"))
    ''
    """
    entries = sorted(folder.glob("*"))
    files = [path for path in entries if path.is_file()]
    if len(entries) == 1 and not files:
        return f"Is it the folder in it that you mean? Then give {entries[0]}."
    split = [path for words in SPLIT_WORDS.values() for path in files if _stem(path) in words]
    likely = split or (files if len(files) == 1 else [])
    others = [path for path in files if path.suffix.lower() in WORKBOOKS]
    said = [sentence for path in [*likely, *others] if (sentence := _on_file(path))]
    return said[0] if said else _on_names(files)


def _on_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in WORKBOOKS:
        return (
            f"{path.name} is a workbook: save its sheets as CSV (UTF-8), that of the queries to learn from as train.csv"
            " with the columns text and labels."
        )
    if suffix == ".json" and _has_an_object_a_line(path):
        return f"{path.name} has an object a line: rename it to {path.stem}.jsonl."
    if suffix == ".json":
        line = '{"text": "round fruit", "labels": ["apple"]}'
        return f"Of JSON an object a line is read: write {path.name} as {path.stem}.jsonl, with lines such as {line}."
    if suffix == ".txt":
        return f"{path.name} names no columns: write it as {path.stem}.csv, with the columns text and labels."
    if suffix in TABLES and (suffix != ".parquet" or _stem(path) in SPLIT_WORDS["train"]):
        return f"Tables need no import, but a train{suffix} and a labels{suffix} with columns as docs/data.md says."
    return ""


def _stem(path: Path) -> str:
    return path.name.partition(".")[0].lower()


def _has_an_object_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline(FIRST_BYTES)
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _on_names(files: list[Path]) -> str:
    """On files that would be read if they had another name."""
    there = [path for path in files if path.suffix.lower() in OTHER_NAME]
    if not there:
        return ""
    names = first_few([path.name for path in there], str)
    which = f"Is {names} the" if len(there) == 1 else f"Which of {names} are the"
    return f"{which} queries to learn from? Name that file train{there[0].suffix.lower()}."
