"""Invariants: a table keeps words in one piece where they have room, and stays within the width of the terminal."""

import io
import json
import sys

import pytest

from xmc.cli.answers import escape_what_cannot_be_written
from xmc.cli.output import column_widths, print_json, print_table

ROWS = [
    {"index": "exact", "recall": "1.000", "queries/s": "1,605", "ms a query": "24.2", "verdict": "slower"},
    {
        "index": "faiss.hnsw (storage sq8, ef_construction 400), ef_search=64",
        "recall": "0.990",
        "queries/s": "11,605",
        "ms a query": "0.242",
        "verdict": "as fast as exact, and no smaller",
    },
]
WORDS = {word for row in ROWS for cell in (*row, *row.values()) for word in cell.split()}


@pytest.mark.parametrize("width", [64, 80, 120, 300])
def test_words_are_in_one_piece(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(ROWS, right=("recall", "queries/s", "ms a query"))
    out = capsys.readouterr().out
    assert set(out.replace("│", " ").replace("┃", " ").split()) >= WORDS
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_write_is_escaped(monkeypatch, encoding):
    rows = [{"label": "größe \u20ac \U0001f600 \udcff"}]
    table, document = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    for stream, write in ((table, print_table), (document, print_json)):
        monkeypatch.setattr(sys, "stdout", stream)
        escape_what_cannot_be_written()
        write(rows)
        stream.flush()
    shown = table.buffer.getvalue().decode(encoding)
    assert ("größe" in shown) == (encoding != "ascii") and ("\u20ac" in shown) == (encoding == "utf-8")
    assert "gr\\xf6\\xdfe" in shown or encoding != "ascii"
    assert json.loads(document.buffer.getvalue().decode(encoding)) == rows


def test_where_words_have_no_room_they_are_folded(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    print_table(ROWS)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 40 and not set(out.split()) >= WORDS


def test_those_that_want_little_get_it_and_the_others_share_the_rest():
    cells = [["a b", "cc dd", "e"], ["a", "cc", "e"]]
    assert column_widths(cells, 9) == [None, None, None]
    assert column_widths(cells, 8) == [3, 4, 1]
    assert column_widths(cells, 5) == [1, 3, 1]
    assert column_widths(cells, 4) == [1, 2, 1]
    assert column_widths(cells, 3) == [None, None, None]
