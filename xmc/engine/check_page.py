"""The report of all checks as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from xmc.engine.check_report import ChecksReport
from xmc.retrieve.layout import checks_folder

MOST_ROWS = 100  # of a table on the page; the Parquet file has all


def checks_page(report: ChecksReport) -> str:
    """The page: verdicts first, then for each check its figures, notes, pictures and the start of its tables.

    The pictures are those that stand in the run's folder.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"number": show_number, "inline": _inline, "rows": _rows}
    text = files("xmc.engine").joinpath("check_page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(report=report, folder=checks_folder(report.run))


def show_number(value: Any) -> str:
    """A value for people: numbers with four significant digits.

    >>> show_number(0.123456), show_number(1200), show_number(None), show_number(2.0)
    ('0.1235', '1,200', 'not measured', '2')
    """
    if value is None:
        return "not measured"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _inline(picture: Path) -> str:
    """An SVG file as the address of an image that carries its own bytes; an image cannot disturb the page's names."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode()


def _rows(table: Mapping[str, Sequence[Any]]) -> Iterable[tuple[Any, ...]]:
    return itertools.islice(zip(*table.values(), strict=True), MOST_ROWS)
