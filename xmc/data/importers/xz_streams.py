"""An .xz file of one stream or several, read to its end: Python's own reader stops at a further one that is damaged."""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import Any, BinaryIO, cast

CHUNK_BYTES = 1 << 16


class XzStreams(io.RawIOBase):
    """What the streams of an open file hold, one after the other.

    Raises: while it is read, LZMAError for damage or something else behind a stream, EOFError for a file cut off.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._stream = lzma.LZMADecompressor()

    def readable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the file as well."""
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or a part of it; 0 at the end."""
        data = b""
        while not data:
            given = b""
            if self._stream.eof:
                given = self._stream.unused_data.lstrip(b"\0")  # zeros may stand between streams
                while not given:
                    chunk = self._file.read(CHUNK_BYTES)
                    if not chunk:
                        return 0
                    given = chunk.lstrip(b"\0")
                self._stream = lzma.LZMADecompressor()
            elif self._stream.needs_input and not (given := self._file.read(CHUNK_BYTES)):
                raise EOFError("it ends before its last stream does")
            data = self._stream.decompress(given, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def open_xz(path: Path) -> BinaryIO:
    """Open a file for reading."""
    return cast(BinaryIO, io.BufferedReader(XzStreams(path.open("rb")), CHUNK_BYTES))
