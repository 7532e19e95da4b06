"""How the command line prints: tables for people, JSON for machines, progress to the error stream."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from xmc.errors import XmcWarning


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[list[str]]:
    """The warnings of xmc while this lasts, each once; other warnings are shown as ever."""
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", XmcWarning)
        show = warnings.showwarning

        def keep(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, XmcWarning):
                show(message, category, *place, **options)
            elif str(message) not in notes:
                notes.append(str(message))

        warnings.showwarning = keep
        yield notes


def print_notes(notes: Sequence[str]) -> None:
    """Sentences that are no part of the answer, to the error stream."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def print_json(value: Any) -> None:
    """One JSON document to standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[Mapping[str, Any]], *, title: str = "", right: Sequence[str] = ()) -> None:
    """Rows as a table; `right` names the columns of numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left")  # a title may hold a query: no markup
    for column in rows[0] if rows else ():
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    Console().print(table)


def human_bytes(count: int) -> str:
    """A size for people.

    >>> human_bytes(512), human_bytes(3 * 2**20)
    ('512 B', '3.0 MB')
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"
