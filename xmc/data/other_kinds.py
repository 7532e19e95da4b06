"""Files that are no tables to xmc as they are: what to do about them, by their names and by how they begin."""

from __future__ import annotations

import contextlib
import json
import shlex
from typing import Any

PACKERS = {"gz": "gunzip", "bz2": "bunzip2", "xz": "unxz", "zst": "unzstd"}
OTHER_NAMES = {
    **dict.fromkeys(("pq", "parq"), "If it is Parquet, let its name end in .parquet."),
    **dict.fromkeys(("feather", "ipc"), "If it is Arrow IPC, as Feather 2 is, let its name end in .arrow."),
}
PACKED = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zst"}
FORMATS = {b"PAR1": ("Parquet", ".parquet"), b"ARROW1": ("Arrow IPC", ".arrow")}
IS_IT_COMPLETE = "Is it complete? Restore it from a copy or make it again."


def hint_of_name(shown: str) -> str:
    """How a file with another ending becomes a table of queries, where xmc knows.

    >>> print(hint_of_name("q.csv"))
    Make it one, with columns id and text: \
python -c 'import pyarrow.csv as t, pyarrow.parquet as p; p.write_table(t.read_csv("q.csv"), "q.parquet")'
    """
    ending = shown.rpartition(".")[2]
    if ending in PACKERS and shown.removesuffix(f".{ending}").endswith((".parquet", ".arrow")):
        return f"Unpack it: {PACKERS[ending]} FILE. Both formats have compression of their own."
    if ending in OTHER_NAMES:
        return OTHER_NAMES[ending]
    stem, _, kind = shown.removesuffix(".gz").rpartition(".")
    reader = {"jsonl": "json", "ndjson": "json", "json": "json", "csv": "csv"}.get(kind)
    if reader is None:
        return "Lines of text are searched by: xmc search - --run RUN < FILE" if kind in ("txt", "text") else ""
    call = f"p.write_table(t.read_{reader}({json.dumps(shown)}), {json.dumps(stem + '.parquet')})"
    code = shlex.quote(f"import pyarrow.{reader} as t, pyarrow.parquet as p; {call}")
    return f"Make it one, with columns id and text: python -c {code}"


def hint_of_content(file: Any, name: str) -> str:
    """What to do about an open file that cannot be read as the kind that its name says.

    >>> import io
    >>> hint_of_content(io.BytesIO(b"ARROW1"), "a.parquet")
    'It is Arrow IPC: let its name end in .arrow.'
    """
    start = b""
    with contextlib.suppress(OSError):  # it could not be read at all
        file.seek(0)
        start = bytes(file.read(max(map(len, (*PACKED, *FORMATS)))))
    for magic, ending in PACKED.items():
        if start.startswith(magic):
            return f"It is compressed as .{ending} files are. Unpack it: {PACKERS[ending]} < FILE > UNPACKED"
    for magic, (format_, ending) in FORMATS.items():
        if start.startswith(magic) and not name.endswith(ending):
            return f"It is {format_}: let its name end in {ending}."
    return IS_IT_COMPLETE
