"""Invariants: the tables of docs/losses.md are those of the results, the best first, what is missing left blank."""

import sys

from doc_pages import PAGES, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from loss_tables import table, tables
from readme_table import filled


def test_the_page_holds_the_tables_made_from_the_results():
    page = PAGES["docs/losses.md"].read_text(encoding="utf-8")
    assert filled(page, tables()) == page, "run: make docs"


def test_the_best_subject_comes_first_and_what_was_not_measured_is_blank():
    rows = [
        {"subject": "a", "x": "P@1", "median": "10.04"},
        {"subject": "b", "x": "P@1", "median": "20"},
        {"subject": "b", "x": "train processor", "median": "1234.5"},
    ]
    assert table("data", rows, ("P@1", "train processor")).splitlines() == [
        "| data | P@1 | CPU s |",
        "|---|---|---|",
        "| b | 20.0 | 1,234 |",
        "| a | 10.0 |  |",
    ]
