"""pyarrow's way to the file systems of fsspec, with the time of each file, which every store calls by another name."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pyarrow.fs import FSSpecHandler

TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class TimedHandler(FSSpecHandler):
    """`FSSpecHandler`, which itself knows the time of those files only whose store calls it `mtime`."""

    @staticmethod
    def _create_file_info(path: str, info: Mapping[str, Any]) -> Any:
        return FSSpecHandler._create_file_info(path, {**info, "mtime": modified_s(info)})


def modified_s(info: Mapping[str, Any]) -> float | None:
    """When a file was written, in seconds, by what fsspec says of it; None where it says nothing.

    >>> modified_s({"size": 1, "LastModified": datetime(1970, 1, 1, 0, 1, tzinfo=UTC)})
    60.0
    >>> modified_s({"updated": "1970-01-01T00:01:00.250Z"}), modified_s({"created": 2.5}), modified_s({"size": 1})
    (60.25, 2.5, None)
    """
    value = next((info[name] for name in TIMES if info.get(name) is not None), None)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value) if isinstance(value, int | float) else None
