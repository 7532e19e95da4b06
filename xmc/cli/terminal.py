"""A terminal may close while a command works: what is said to it then is lost, and the work goes on."""

from __future__ import annotations

import errno
import io
import sys
from typing import Any, TextIO


class _Terminal(io.FileIO):
    """Takes everything. A terminal that is gone answers EIO, by which a word about progress would end the work."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return memoryview(data).nbytes


def outlive_terminal() -> None:
    """Let nothing fail for a terminal that closes, of a command that was disowned or that a signal ends in order."""
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def _outliving(stream: TextIO) -> TextIO:
    """The same stream when it is no terminal."""
    if not isinstance(stream, io.TextIOWrapper) or not stream.isatty():
        return stream
    raw = _Terminal(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True)
