"""What a prediction did, what it could not do, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xmc.counted import counted
from xmc.errors import DataError
from xmc.predict.engine import Failure


@dataclass(frozen=True)
class PredictReport:
    """What a prediction did; `skipped` shards were there already, from an earlier call. Rows are of all shards.

    `failures` are the shards that could not be answered: name, location, error and hint of each.
    """

    out: str
    k: int
    shards: int
    skipped: int
    rows: int
    statuses: Mapping[str, int]
    rows_now: int
    seconds: float
    notes: tuple[str, ...] = ()
    failures: tuple[Mapping[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        rate = self.rows_now / self.seconds if self.seconds else 0.0
        lists = {"notes": list(self.notes), "failures": [dict(failure) for failure in self.failures]}
        return {**vars(self), "statuses": dict(self.statuses), **lists, "rows_per_s": rate}


class FailedShardsError(DataError):
    """Shards that could not be answered, after the others were; `report` has each of them, and what was done."""

    def __init__(self, message: str, *, report: PredictReport, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.report = report


@dataclass
class Progress:
    """How far a prediction is: `rows`, `size` and `shards` done now, of `total_size` bytes and `total_shards` to do."""

    total_shards: int
    total_size: int
    shards: int = 0
    rows: int = 0
    size: int = 0
    failed: int = 0


def failed_shards(failures: Sequence[Failure], total: int, *, listed: str, report: PredictReport) -> FailedShardsError:
    """The error of these of `total` shards, which are all named in the file `listed`."""
    first = failures[0].error
    if total == 1:
        return FailedShardsError(first.message, report=report, hint=first.hint)
    others = f" (and {len(failures) - 1:,} more, all in {listed})" if len(failures) > 1 else ""
    hint = "Or leave them out: --skip-failed." if len(failures) < report.shards else ""
    return FailedShardsError(
        f"{len(failures):,} of {counted(total, 'shard')} could not be answered; the others are done. "
        f"{first.message}{others}",
        report=report,
        hint=f"{first.hint} {hint}".strip(),
    )
