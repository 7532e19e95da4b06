"""Counting what an import reads, writes and skips, and the choice between stopping and skipping at a bad row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from xmc.data.importers.rows import LabelRow, Place, QueryRow
from xmc.data.importers.shared import Shared
from xmc.errors import DataError

OnBadRow = Literal["error", "skip"]
Row = TypeVar("Row", LabelRow, QueryRow)
Item = TypeVar("Item")
SHOWN = 5
NOT_UTF8, SAVE_AS_UTF8 = "not UTF-8", "Save the file as UTF-8 (Excel calls it CSV UTF-8)."
MEND = "Mend it, or leave such rows out, counted, with --on-bad-row skip."


@dataclass
class TableReport:
    """Rows of one table: read, written, skipped by reason, and the first few skipped ones as `file:row: reason`."""

    read: int = 0
    written: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """The counts of one import; `bad` stops it or counts on, as the user chose."""

    on_bad_row: OnBadRow
    tables: dict[str, TableReport] = field(default_factory=dict)
    unknown_label_ids: Counter[str] = field(default_factory=Counter)
    merged_positives: int = 0

    def table(self, name: str) -> TableReport:
        """The counts of a table, made on first use."""
        if name not in self.tables:
            self.tables[name] = TableReport()
        return self.tables[name]

    def bad(self, table: str, place: Place, reason: str, detail: str = "", *, hint: str = "") -> None:
        """Note a row that is left out: `reason` is counted, `detail` says what this row has, `hint` how to mend it.

        Raises: DataError `file:row: reason` unless bad rows are to be skipped.
        """
        said = _printable(f"{place}: {reason}{': ' if detail else ''}{detail}")
        self._stop(f"{said}.", SAVE_AS_UTF8 if reason == NOT_UTF8 else hint)
        counts = self.table(table)
        counts.skipped[reason] += 1
        if len(counts.examples) < SHOWN:
            counts.examples.append(said)

    def good(
        self, table: str, items: Iterable[tuple[Place, Item]], parse: Callable[[Place, Item], Row | tuple[str, ...]]
    ) -> Iterator[Row]:
        """Yield the rows that `parse` makes of items; where it says what is wrong instead, that is a bad row."""
        for place, item in items:
            row = parse(place, item)
            if isinstance(row, (LabelRow, QueryRow)):
                yield row
            else:
                self.bad(table, place, *row)

    def unknown_label(self, place: Place, label_id: str, hint: Callable[[], str]) -> None:
        """Note a positive whose label does not exist; the positive is left out, the query stays if others remain.

        `hint` says which label may be meant; it is asked only if this stops.
        Raises: DataError unless bad rows are to be skipped.
        """
        if self.on_bad_row == "error":
            self._stop(f"{place}: unknown label id {label_id[:100]!r}.", hint())
        self.unknown_label_ids[_printable(label_id)] += 1

    def _stop(self, message: str, first: str) -> None:
        if self.on_bad_row == "error":
            raise DataError(message, hint=f"{first} {MEND}".strip())


def _printable(text: str) -> str:
    """The text with its lone surrogates, which no file can hold, written out.

    >>> _printable("a\\ud800")
    'a\\\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class ImportReport:
    """What an import did: `tables` count rows, `unknown_label_ids` the positives dropped by id.

    `recipe` is the one that suits such data better than the default, empty where none is known to.
    """

    source: str
    out: str
    format: str
    tables: dict[str, TableReport]
    unknown_label_ids: Counter[str]
    merged_positives: int
    fingerprint: str
    notes: tuple[str, ...] = ()
    shared: Shared = field(default_factory=Shared)
    recipe: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; of unknown label ids the most frequent are listed."""
        return {
            "source": _printable(self.source),
            "out": _printable(self.out),
            "format": self.format,
            "fingerprint": self.fingerprint,
            "tables": {
                name: {
                    "read": table.read,
                    "written": table.written,
                    "skipped": dict(table.skipped),
                    "examples": list(table.examples),
                }
                for name, table in self.tables.items()
            },
            "unknown_label_ids": {
                "ids": len(self.unknown_label_ids),
                "positives": self.unknown_label_ids.total(),
                "most_frequent": dict(self.unknown_label_ids.most_common(SHOWN)),
            },
            "merged_positives": self.merged_positives,
            "shared": self.shared.to_dict(),
            "notes": list(self.notes),
            "recipe": self.recipe,
        }
