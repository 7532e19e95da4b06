"""The BEIR layout: `corpus.jsonl` {_id, title, text}, `queries.jsonl` {_id, text}, `qrels/<split>.tsv`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xmc.data.importers.judged import Judgement, QueryTexts, judged_splits, parse_score
from xmc.data.importers.rows import LabelRow, Place, QueryRow, Source
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import (
    as_id,
    find_splits,
    find_text_file,
    missing_key,
    not_there,
    read_json_rows,
    read_lines,
)

EXPECTED = "corpus.jsonl, queries.jsonl and qrels/train.tsv (and dev.tsv, test.tsv)"
HEADER = ["query-id", "corpus-id", "score"]


def is_beir(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return find_text_file(folder, "corpus.jsonl") is not None


def open_beir(folder: Path, tally: Tally) -> Source:
    """Open a folder of this layout; a document's text is its title and text, joined by a space.

    Raises: DataError when a file is missing.
    """
    corpus, queries = find_text_file(folder, "corpus.jsonl"), find_text_file(folder, "queries.jsonl")
    files = find_splits(folder / "qrels", "{}.tsv")
    if corpus is None or queries is None or "train" not in files:
        missing = "train judgements" if corpus and queries else "queries" if corpus else "corpus"
        raise not_there(folder, missing, EXPECTED)
    notes: list[str] = []
    query_rows = read_json_rows(queries, table="queries", tally=tally)
    texts = QueryTexts(lambda: tally.good("queries", query_rows, _query), tally, notes)
    splits = judged_splits(files, texts, lambda path, table: _read_judgements(path, table, tally))
    documents = read_json_rows(corpus, table="labels", tally=tally)
    return Source(tally.good("labels", documents, _label), splits, notes)


def _label(place: Place, row: dict[str, Any]) -> LabelRow | tuple[str, ...]:
    if missing := missing_key(row, "_id", "text"):
        return missing
    label_id, title, text = as_id(row.get("_id")), row.get("title") or "", row.get("text")
    if label_id is None or not isinstance(text, str) or not isinstance(title, str):
        return ("'_id' must be an id, 'title' and 'text' strings",)
    return LabelRow(place, label_id, f"{title} {text}".strip())


def _query(place: Place, row: dict[str, Any]) -> QueryRow | tuple[str, ...]:
    if missing := missing_key(row, "_id", "text"):
        return missing
    query_id, text = as_id(row.get("_id")), row.get("text")
    if query_id is None or not isinstance(text, str):
        return ("'_id' must be an id and 'text' a string",)
    return QueryRow(place, query_id, text, [])


def _read_judgements(path: Path, table: str, tally: Tally) -> Iterator[Judgement]:
    for place, line in read_lines(path, table=table, tally=tally):
        parts = line.split("\t")
        if place.row == 1 and [part.strip() for part in parts] == HEADER:
            continue
        if not line.strip():
            continue
        tally.table(table).read += 1
        score = parse_score(parts[2]) if len(parts) == 3 else None
        if score is None:
            tally.bad(table, place, "not `query-id<TAB>corpus-id<TAB>score`", repr(line[:80]))
        else:
            yield Judgement(place, parts[0], parts[1], score)
