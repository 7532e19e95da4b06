"""Shards of queries for tests of the prediction over files, and what its output must be."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

WORDS = ("tender tram", "vivid mango", "lemon", "zebra and otter", "amber canal", "quiet harbour")
BOOKKEEPING = {".lock"}


def queries(rows: int, *, first: int = 0) -> pa.Table:
    """A table of texts, a few of which cannot be encoded."""
    texts = [f"{WORDS[row % len(WORDS)]} {row % 7}" for row in range(first, first + rows)]
    for row in range(3, rows, 11):
        texts[row] = None
    for row in range(5, rows, 13):
        texts[row] = " "
    return pa.table({"query_id": [f"q{row}" for row in range(first, first + rows)], "text": texts})


def write_shards(folder: Path, *, shards: int, rows: int) -> Path:
    """Shards in both formats, Arrow with batches that do not fit the batches of a search."""
    folder.mkdir(parents=True)
    for number in range(shards):
        table = queries(rows + number, first=1000 * number)
        if number % 2:
            path = str(folder / f"part-{number}.arrow")
            with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=37)
        else:
            pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=41)
    return folder


def write_few(folder: Path, names: Iterable[str] = ("a",), *, rows: int = 5) -> Path:
    """Small Parquet shards with these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pq.write_table(queries(rows), folder / f"{name}.parquet")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of an output folder by its name, but for the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in BOOKKEEPING)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def require_complete(folder: Path) -> list[dict]:
    """The manifest of a finished output folder: true of every file, and nothing else is there."""
    manifest = (folder / "_manifest.jsonl").read_bytes()
    assert (folder / "_SUCCESS").read_text() == hashlib.sha256(manifest).hexdigest() + "\n"
    lines = [json.loads(line) for line in manifest.splitlines()]
    names = [line["name"] for line in lines]
    assert len(set(names)) == len(names)
    for line in lines:
        data = (folder / line["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (line["size"], line["sha256"])
        assert pq.read_metadata(folder / line["name"]).num_rows == line["rows"] == sum(line["statuses"].values())
    acks = {f"_acks/{name}.json" for name in names}
    assert set(contents(folder)) == {*names, *acks, "_job.json", "_manifest.jsonl", "_SUCCESS"}
    return lines
