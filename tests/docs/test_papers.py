"""Invariants: what docs/papers.md names is there, and every paper that an offer refers to has its row."""

import re
from pathlib import Path

from doc_pages import PAGES, ROOT

from xmc.plugin_manager import load_plugins

PAGE = PAGES["docs/papers.md"].read_text(encoding="utf-8")
LINES = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][1:]
ROWS = [[cell.strip() for cell in cells] for cells in LINES]


def test_every_row_has_six_cells_and_a_paper_has_modules_and_tests():
    assert len(ROWS) > 10
    for row in ROWS:
        assert len(row) == 6, row[0]
        assert row[1], row[0]
        assert "tests/" in row[2], row[0]


def test_files_exist():
    for row in ROWS:
        for cell in row[1:3]:
            folder = Path()
            for name in re.findall(r"`([^`]+)`", cell):
                path = Path(name) if "/" in name else folder / name
                folder = path if (ROOT / path).is_dir() else path.parent
                assert (ROOT / path).exists(), path


def test_tables_of_figures_exist():
    named = set(re.findall(r"`(\w+\.csv)`", PAGE))
    assert len(named) > 5
    for name in named:
        assert (ROOT / "benchmarks" / "results" / name).is_file(), name


def test_every_reference_of_an_offer_has_a_row():
    papers = " ".join(row[0] for row in ROWS)
    references = {
        offer.spec.reference for offers in load_plugins().offers.values() for offer in offers if offer.spec.reference
    }
    assert len(references) > 5
    for reference in references:
        first_author = re.split(r"[,:]| et al", reference)[0]
        assert first_author in papers, reference
