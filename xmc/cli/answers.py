"""With `--json` standard output holds one document and nothing else, whatever plugins print."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from typing import TextIO

_kept: list[TextIO] = []


@contextlib.contextmanager
def answers_apart(arguments: Sequence[str]) -> Iterator[None]:
    """Send what is printed to the error stream while this lasts, all but the answer, where `--json` is asked for."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" not in options:
        yield
        return
    _kept.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _kept.pop()


def escape_what_cannot_be_written() -> None:
    """Let characters that the encoding of a terminal lacks be written as escapes, where they would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def has_utf8(stream: TextIO) -> bool:
    """Whether all characters can be written; JSON has escapes of its own for others."""
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def answer_stream() -> TextIO:
    """Where the answer goes: the standard output that was there before."""
    return _kept[-1] if _kept else sys.stdout
