"""The tables of docs/losses.md, made from results/*.csv: python benchmarks/loss_tables.py (or: make docs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from readme_table import RESULTS, Row, filled, read_rows

PAGE = Path(__file__).parents[1] / "docs" / "losses.md"
SECONDS = "train processor"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "eurlex57k": ("P@1", "P@3", "P@5", "PSP@5", "R@100", "pooled AUC", SECONDS),
    "wordnet": ("P@1", "R@10", "R@100", "R@100 tail", "R@100 zero-shot", "PSP@5", "pooled AUC", SECONDS),
}


def tables(results: Path = RESULTS) -> str:
    """One table for each data set that was measured."""
    found = [table(name, read_rows(results / f"{name}.csv"), columns) for name, columns in COLUMNS.items()]
    return "\n\n".join(found)


def table(name: str, rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A line for each subject in the order of its first column, the best first; what was not measured is left blank."""
    subjects: dict[str, dict[str, str]] = {}
    for row in rows:
        subjects.setdefault(row["subject"], {})[row["x"]] = row["median"]
    ordered = sorted(subjects.items(), key=lambda item: -float(item[1][columns[0]]))
    shown = [heading(column) for column in columns]
    lines = [f"| {name} | {' | '.join(shown)} |", "|---" * (len(columns) + 1) + "|"]
    for subject, figures in ordered:
        cells = [
            f"{float(figures[column]):,.{0 if column == SECONDS else 1}f}" if column in figures else ""
            for column in columns
        ]
        lines.append(f"| {subject} | {' | '.join(cells)} |")
    return "\n".join(lines)


def heading(column: str) -> str:
    """What stands over a column."""
    return "CPU s" if column == SECONDS else column


def main() -> None:
    """Fill the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
