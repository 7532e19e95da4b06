"""What checks found, judged by the limits of the configuration, and how it is written into the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xmc.api import CheckFigure, CheckResult
from xmc.engine.check_settings import Limit
from xmc.engine.pictures import write_picture
from xmc.errors import PluginError
from xmc.retrieve.layout import checks_folder
from xmc.store import write_json


@dataclass(frozen=True)
class Verdict:
    """Whether a limit is kept; `value` is None when the figure was not measured, which misses it."""

    limit: Limit
    value: float | None

    @property
    def passed(self) -> bool:
        """Kept."""
        return self.value is not None and self.limit.passes(self.value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        sign = "<=" if self.limit.better == "lower" else ">="
        return {
            "limit": self.limit.name, "sign": sign, "bound": self.limit.bound, "value": self.value,
            "passed": self.passed,
        }  # fmt: skip


@dataclass(frozen=True)
class CheckOutcome:
    """One check: its result, or the sentence with which it refused; the verdicts on its figures."""

    name: str
    summary: str
    options: Mapping[str, Any]
    seconds: float
    result: CheckResult | None = None
    refusal: str = ""
    better: Mapping[str, str] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()

    @property
    def figures(self) -> Mapping[str, CheckFigure]:
        """The figures, none when it refused."""
        return self.result.figures if self.result else {}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        result = self.result or CheckResult({})
        return {
            "check": self.name,
            "options": _plain(self.options),
            "refused": self.refusal or None,
            "figures": {name: {**asdict(figure), "better": self.better[name]} for name, figure in self.figures.items()},
            "tables": [f"{self.name}/{name}.parquet" for name in result.tables],
            "pictures": [f"{self.name}/{name}.{kind}" for name in result.pictures for kind in ("png", "svg")],
            "notes": list(result.notes),
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class ChecksReport:
    """All checks of one call, over the queries that `source` describes."""

    run: Path
    data: Mapping[str, Any]
    source: str
    outcomes: tuple[CheckOutcome, ...]
    versions: Mapping[str, str]
    together: bool = False  # several were asked for, so there is a report of all
    asked: tuple[str, ...] = ()  # those that were asked for by name

    @property
    def verdicts(self) -> list[Verdict]:
        """Every verdict."""
        return [verdict for outcome in self.outcomes for verdict in outcome.verdicts]

    @property
    def refused(self) -> list[str]:
        """The checks that were asked for by name and could not be run."""
        return [outcome.name for outcome in self.outcomes if outcome.refusal and outcome.name in self.asked]

    @property
    def passed(self) -> bool:
        """Whether every limit is kept, without limits yes, and no check that was asked for by name refused."""
        return all(verdict.passed for verdict in self.verdicts) and not self.refused

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "passed": self.passed,
            "refused": self.refused,
            "limits": len(self.verdicts),
            "data": dict(self.data),
            "queries": self.source,
            "checks": [outcome.to_dict() for outcome in self.outcomes],
            "versions": dict(self.versions),
        }


def checked_result(name: str, better: Mapping[str, str], result: object) -> CheckResult:
    """The result, when it is one and its figures are finite and announced.

    Raises: PluginError naming the check and what is wrong.
    """
    if not isinstance(result, CheckResult):
        raise PluginError(f"check '{name}' answered {type(result).__name__}, not a CheckResult.")
    for figure_name, figure in result.figures.items():
        if figure_name not in better:
            raise PluginError(f"check '{name}' reports '{figure_name}', which its figures() does not announce.")
        numbers = [end for end in (figure.value, figure.low, figure.high) if end is not None]
        if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
            raise PluginError(
                f"check '{name}': figure '{figure_name}' is not finite: {figure}.",
                hint="Leave a figure out when it cannot be measured.",
            )
    return result


def write_outcome(run: Path, outcome: CheckOutcome, *, about: Mapping[str, Any]) -> None:
    """Write `run/checks/NAME/`: report.json, a Parquet file for each table, PNG and SVG for each picture.

    `about` goes into the report: which data, queries, model and versions it is of.
    """
    import pyarrow as pa

    from xmc.data.shards import write_table

    folder = checks_folder(run) / outcome.name
    folder.mkdir(parents=True, exist_ok=True)
    if outcome.result:
        for name, columns in outcome.result.tables.items():
            write_table(folder / f"{name}.parquet", pa.table(dict(columns)))
        for name, picture in outcome.result.pictures.items():
            write_picture(folder, name, picture)
    write_json(folder / "report.json", {**outcome.to_dict(), **about})


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
