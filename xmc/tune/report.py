"""What is kept of a choice: a summary, every candidate with its verdict, the curve as a table."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

from xmc.tune.choose import Choice
from xmc.tune.measurement import Measurement

COLUMNS = (
    "stage", "backend", "options", "search_options", "queries", "recall", "low", "high", "queries_per_s", "latency_s",
    "memory_bytes", "build_s", "meets_goal", "chosen",
)  # fmt: skip


def summary(choice: Choice) -> dict[str, Any]:
    """What was asked, what was reached on the queries that did not choose, beside exact search."""
    judged, exact = choice.judged, choice.exact
    return {
        "asked": str(choice.goal),
        "goal": dataclasses.asdict(choice.goal),
        "search_options": dict(choice.chosen.search_options),
        "recall": round(judged.recall, 5),
        "recall_low": round(judged.low, 5),
        "recall_high": round(judged.high, 5),
        "recall_when_choosing": round(choice.chosen.recall, 5),
        "queries": {"choosing": choice.chosen.queries, "judging": judged.queries, "source": choice.source},
        "queries_per_s": round(judged.queries_per_s, 1),
        "latency_s": round(judged.latency_s, 7),
        "exact": None if exact is None else _speed(exact),
        "notes": list(choice.notes),
    }


def full_report(choice: Choice) -> dict[str, Any]:
    """The summary and what came of every candidate."""
    return {
        **summary(choice),
        "tried": [trial.to_dict() for trial in choice.trials],
        "tried_on_a_sample": [trial.to_dict() for trial in choice.sample_trials],
        "left_out": list(choice.refusals),
    }


def curve(choice: Choice) -> dict[str, list[Any]]:
    """Every measured setting as columns, in the order measured; options are JSON texts."""
    rows = [_row(choice, point) for point in choice.points]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def curve_csv(choice: Choice) -> str:
    """The curve as CSV."""
    columns = curve(choice)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _row(choice: Choice, point: Measurement) -> dict[str, Any]:
    values = dataclasses.asdict(point)
    for name in ("options", "search_options"):
        values[name] = json.dumps(values[name], sort_keys=True)
    return {**values, "meets_goal": choice.goal.meets(point), "chosen": point in (choice.chosen, choice.judged)}


def _speed(point: Measurement) -> dict[str, float]:
    return {
        "queries_per_s": round(point.queries_per_s, 1),
        "latency_s": round(point.latency_s, 7),
        "memory_bytes": point.memory_bytes,
    }
