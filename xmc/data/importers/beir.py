"""The BEIR layout: `corpus.jsonl` {_id, title, text}, `queries.jsonl` {_id, text}, `qrels/<split>.tsv`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmc.data.importers.judged import Judgement, QueryTexts, judged_splits, parse_score
from xmc.data.importers.rows import LabelRow, QueryRow, Source
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
    texts = QueryTexts(lambda: _read_queries(queries, tally), tally, notes)
    splits = judged_splits(files, texts, lambda path, table: _read_judgements(path, table, tally))
    return Source(_read_corpus(corpus, tally), splits, notes)


def _read_corpus(path: Path, tally: Tally) -> Iterator[LabelRow]:
    for place, row in read_json_rows(path, table="labels", tally=tally):
        if missing := missing_key(row, "_id", "text"):
            tally.bad("labels", place, *missing)
            continue
        label_id, title, text = as_id(row.get("_id")), row.get("title") or "", row.get("text")
        if label_id is None or not isinstance(text, str) or not isinstance(title, str):
            tally.bad("labels", place, "'_id' must be an id, 'title' and 'text' strings")
        else:
            yield LabelRow(place, label_id, f"{title} {text}".strip())


def _read_queries(path: Path, tally: Tally) -> Iterator[QueryRow]:
    for place, row in read_json_rows(path, table="queries", tally=tally):
        if missing := missing_key(row, "_id", "text"):
            tally.bad("queries", place, *missing)
            continue
        query_id, text = as_id(row.get("_id")), row.get("text")
        if query_id is None or not isinstance(text, str):
            tally.bad("queries", place, "'_id' must be an id and 'text' a string")
        else:
            yield QueryRow(place, query_id, text, [])


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
