"""What every format is read into: rows of labels and of queries, each knowing its place in the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A row of a source file, counted from 1; reads `file:row`."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


Rows = Iterator[tuple[Place, dict[str, Any]]]  # values by column, or by key


class LabelRow(NamedTuple):
    """One label as the source has it."""

    place: Place
    id: str
    text: str


class QueryRow(NamedTuple):
    """One query as the source has it; `relevance` None means 1 for every label.

    `label_places` says where each label was named, if that is not the query's own row.
    """

    place: Place
    id: str
    text: str
    label_ids: list[str]
    relevance: list[float] | None = None
    label_places: list[Place] | None = None


@dataclass(frozen=True)
class Source:
    """An opened source: iterators that parse as they are walked, labels first; notes are filled in on the way."""

    labels: Iterator[LabelRow]
    splits: dict[str, Iterator[QueryRow]]
    notes: list[str] = field(default_factory=list)
