"""How the command line prints: tables for people, JSON for machines, progress to the error stream."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import typer

from xmc.cli.answers import answer_stream, has_utf8
from xmc.errors import XmcWarning


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[list[str]]:
    """The warnings of xmc while this lasts, each once; other warnings are shown as ever."""
    notes: list[str] = []
    with _each_warning_to(notes.append):
        yield notes


@contextlib.contextmanager
def other_warnings_told() -> Iterator[None]:
    """Let what xmc warns of be a note on the error stream at once, where no verb gathers its notes."""
    with _each_warning_to(lambda note: print_notes([note])):
        yield


@contextlib.contextmanager
def _each_warning_to(take: Callable[[str], None]) -> Iterator[None]:
    taken: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", XmcWarning)
        show = warnings.showwarning

        def keep(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, XmcWarning):
                show(message, category, *place, **options)
            elif str(message) not in taken:
                taken.add(str(message))
                take(str(message))

        warnings.showwarning = keep
        yield


def print_notes(notes: Sequence[str]) -> None:
    """Sentences that are no part of the answer, to the error stream."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def print_json(value: Any) -> None:
    """One JSON document to standard output."""
    stream = answer_stream()
    typer.echo(json.dumps(value, indent=2, ensure_ascii=not has_utf8(stream), allow_nan=False), file=stream)


def print_table(rows: Sequence[Mapping[str, Any]], *, title: str = "", right: Sequence[str] = ()) -> None:
    """Rows as a table, with words in one piece where they have room; `right` names the columns of numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left")  # a title may hold a query: no markup
    columns = list(rows[0]) if rows else []
    cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
    console = Console()
    room = console.width - 3 * len(columns) - 1  # what lines and padding leave
    for column, width in zip(columns, column_widths([columns, *cells], room), strict=True):
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def column_widths(cells: Sequence[Sequence[str]], room: int) -> Sequence[int | None]:
    """A width for each column in which no word is cut; None for each where all fits as it is, or words do not.

    >>> column_widths([["index", "verdict"], ["faiss.hnsw", "as fast and no smaller"]], 20)
    [10, 10]
    >>> column_widths([["index folder", "versions"], ["a", "many words " * 99]], 40)
    [12, 28]
    >>> column_widths([["index", "verdict"], ["faiss.hnsw", "slower"]], 20)
    [None, None]
    """
    from rich.cells import cell_len

    columns = list(zip(*cells, strict=True))
    natural = [max(map(cell_len, column)) for column in columns]
    widths = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    if sum(natural) <= room or sum(widths) > room:
        return [None] * len(columns)
    spare = room - sum(widths)
    wanting = sorted(range(len(columns)), key=lambda place: natural[place] - widths[place])
    for served, place in enumerate(wanting):  # those that want little get it, the others share the rest
        more = min(natural[place] - widths[place], spare // (len(wanting) - served))
        widths[place] += more
        spare -= more
    return widths


def human_bytes(count: int) -> str:
    """A size for people.

    >>> human_bytes(512), human_bytes(3 * 2**20)
    ('512 B', '3.0 MB')
    """
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"
