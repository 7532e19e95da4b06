"""Queries and relevance judgements that stand in separate files (BEIR, TREC), joined into splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from xmc.counted import counted
from xmc.data.importers.rows import Place, QueryRow
from xmc.data.importers.tally import Tally


class Judgement(NamedTuple):
    """One judged pair; a score of 0 or below means not relevant."""

    place: Place
    query_id: str
    label_id: str
    score: float


class QueryTexts:
    """The texts of all queries, read when the first split asks for them, and which of them no split has used."""

    def __init__(self, read: Callable[[], Iterator[QueryRow]], tally: Tally, notes: list[str]) -> None:
        self._read = read
        self._tally = tally
        self._notes = notes
        self._rows: dict[str, QueryRow] | None = None
        self._unused: set[str] = set()

    def rows(self) -> dict[str, QueryRow]:
        """Query id -> row without labels; a repeated id is a bad row of the table `queries`."""
        if self._rows is None:
            self._rows = {}
            for row in self._read():
                if row.id in self._rows:
                    self._tally.bad("queries", row.place, "query id stands twice", repr(row.id[:100]))
                else:
                    self._rows[row.id] = row
            self._tally.table("queries").written = len(self._rows)
            self._unused = set(self._rows)
        return self._rows

    def split(self, judgements: Iterator[Judgement], *, split: str, last: bool) -> Iterator[QueryRow]:
        """Yield the queries of one split, in the order of the judgements' first mention; `last` adds a closing note."""
        rows, table = self.rows(), f"{split} judgements"
        found: dict[str, list[Judgement]] = {}
        ignored = 0
        for judgement in judgements:
            if judgement.query_id not in rows:
                self._tally.bad(table, judgement.place, "unknown query id", repr(judgement.query_id[:100]))
                continue
            self._tally.table(table).written += 1
            relevant = found.setdefault(judgement.query_id, [])
            if judgement.score > 0:
                relevant.append(judgement)
            else:
                ignored += 1
        if ignored:
            said = counted(ignored, "judgement of 0 or below means", "judgements of 0 or below mean")
            self._notes.append(f"{split}: {said} not relevant")
        yield from self._with_labels(found, split)
        if last and self._unused:
            none = "no judgement in any split and"
            said = counted(len(self._unused), f"query has {none} is", f"queries have {none} are")
            self._notes.append(f"{said} left out")

    def _with_labels(self, found: dict[str, list[Judgement]], split: str) -> Iterator[QueryRow]:
        lonely = 0
        for query_id, judgements in found.items():
            self._unused.discard(query_id)
            if not judgements:
                lonely += 1
                continue
            self._tally.table(split).read += 1
            yield self.rows()[query_id]._replace(
                label_ids=[judgement.label_id for judgement in judgements],
                relevance=[judgement.score for judgement in judgements],
                label_places=[judgement.place for judgement in judgements],
            )
        if lonely:
            said = counted(lonely, "query has no relevant label and is", "queries have no relevant label and are")
            self._notes.append(f"{split}: {said} left out")


def parse_score(text: str) -> float | None:
    """A score as a number; None when it is not a finite one.

    >>> parse_score("2"), parse_score("x"), parse_score("nan")
    (2.0, None, None)
    """
    try:
        score = float(text)
    except ValueError:
        return None
    return score if abs(score) < float("inf") else None


def judged_splits(
    files: dict[str, Path], texts: QueryTexts, read: Callable[[Path, str], Iterator[Judgement]]
) -> dict[str, Iterator[QueryRow]]:
    """The splits of a format, one per judgement file, in order."""
    last = list(files)[-1] if files else ""
    return {
        split: texts.split(read(path, f"{split} judgements"), split=split, last=split == last)
        for split, path in files.items()
    }
