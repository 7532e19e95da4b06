"""The TREC layout: `collection.tsv`, `queries.tsv` (id<TAB>text) and qrels files of `qid 0 docid rel`, one a split.

Queries may stand in one file or in one per split (`queries.train.tsv`); a qrels file is any `qrels*` file, here or in
`qrels/`, with exactly one word for a split in its name (`qrels.train.tsv`, `qrels/dev.txt`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xmc.data.importers.judged import Judgement, QueryTexts, judged_splits, parse_score
from xmc.data.importers.rows import LabelRow, Place, QueryRow, Source
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import find_text_file, not_there, read_lines
from xmc.data.split_names import SPLIT_WORDS
from xmc.errors import DataError

EXPECTED = "collection.tsv, queries*.tsv and qrels*train* (and qrels*dev*, qrels*test*)"


def is_trec(folder: Path) -> bool:
    """Whether the folder looks like this format."""
    return find_text_file(folder, "collection.tsv") is not None


def open_trec(folder: Path, tally: Tally) -> Source:
    """Open a folder of this layout.

    Raises: DataError when a file is missing, or two qrels files claim the same split.
    """
    collection, queries = find_text_file(folder, "collection.tsv"), sorted(folder.glob("queries*.tsv*"))
    files = _qrels(folder)
    if collection is None or not queries or "train" not in files:
        missing = "train qrels" if collection and queries else "queries" if collection else "collection"
        raise not_there(folder, missing, EXPECTED)
    notes: list[str] = []
    texts = QueryTexts(lambda: _read_queries(queries, tally), tally, notes)
    splits = judged_splits(files, texts, lambda path, table: _read_judgements(path, table, tally))
    labels = (LabelRow(*row) for row in _read_pairs(collection, "labels", tally))
    return Source(labels, splits, notes)


def _qrels(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    here = [path for path in sorted(folder.glob("qrels*")) if path.is_file()]
    for path in [*here, *sorted((folder / "qrels").glob("*"))]:
        words = set(re.split(r"[^a-z]+", path.name.lower()))
        splits = [split for split, names in SPLIT_WORDS.items() if words & set(names)]
        if len(splits) != 1 or splits[0] in found:
            other = f" beside {found[splits[0]].name}" if len(splits) == 1 else ""
            raise DataError(
                f"{path}: which split are these judgements for{other}?",
                hint="Give one file a split, with train, dev or test in its name.",
            )
        found[splits[0]] = path
    return {split: found[split] for split in SPLIT_WORDS if split in found}


def _read_queries(files: list[Path], tally: Tally) -> Iterator[QueryRow]:
    for path in files:
        for place, query_id, text in _read_pairs(path, "queries", tally):
            yield QueryRow(place, query_id, text, [])


def _read_pairs(path: Path, table: str, tally: Tally) -> Iterator[tuple[Place, str, str]]:
    for place, line in read_lines(path, table=table, tally=tally):
        if not line.strip():
            continue
        tally.table(table).read += 1
        row_id, tab, text = line.partition("\t")
        if tab:
            yield place, row_id.strip(), text  # judgements are cut at blanks, and name none that has some
        else:
            tally.bad(table, place, "not `id<TAB>text`", repr(line[:80]))


def _read_judgements(path: Path, table: str, tally: Tally) -> Iterator[Judgement]:
    for place, line in read_lines(path, table=table, tally=tally):
        parts = line.split()
        if not parts:
            continue
        tally.table(table).read += 1
        score = parse_score(parts[3]) if len(parts) == 4 else None
        if score is None:
            tally.bad(table, place, "not `qid 0 docid rel`", repr(line[:80]))
        else:
            yield Judgement(place, parts[0], parts[2], score)
