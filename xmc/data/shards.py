"""Arrow tables on disk: find the shards of a table, read them with every check that Arrow has, write them atomically.

Parquet is written with page checksums, and both formats with a SHA-256 per column, because page checksums do not cover
the footer; a file that xmc wrote is therefore read back as it was, or refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from xmc.data.arrow_ipc import read_ipc
from xmc.data.column_hash import column_sha256
from xmc.data.folder_walk import DANGLING, FILE, Entry, walk
from xmc.data.schemas import check_schema, columns_of
from xmc.errors import DataError
from xmc.store import atomic_writer

SUFFIXES = (".parquet", ".arrow")
CONTENT_KEY = b"xmc.sha256"
CHANGED = (
    "If you changed it on purpose, write it without the old hashes: table.replace_schema_metadata(None) of pyarrow."
)


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """A sort key under which `part-10` comes after `part-9`.

    >>> sorted(["q/part-10.arrow", "q/part-9.arrow"], key=natural_key)
    ['q/part-9.arrow', 'q/part-10.arrow']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part)) if position % 2 else (1, part) for position, part in enumerate(parts)]


def find_shards(pattern: str | Path) -> list[Path]:
    """The table files that a file name, a folder, or a pattern with `*`, `?`, `[` stands for, in natural order.

    A folder stands for all below it, without what has, or lies in what has, a name that begins with `_` or `.`.
    Raises: DataError when there is none, or when a file is neither `.parquet` nor `.arrow`.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [path / entry.name for entry in walk(str(path), recursive=True) if _is_shard(entry)]
    elif path.exists():
        found = [path]
    else:
        wild = next((number for number, part in enumerate(path.parts) if set(part) & set("*?[")), len(path.parts))
        found = list(Path(*path.parts[:wild]).glob(str(Path(*path.parts[wild:])))) if wild < len(path.parts) else []
    if not found:
        raise DataError(f"there is no table {pattern}.", hint="Give a .parquet or .arrow file, a folder or a pattern.")
    for file in found:
        if file.suffix not in SUFFIXES:
            raise DataError(f"{file}: a table ends in {' or '.join(SUFFIXES)}.", hint="Convert it with: xmc import")
    return sorted(found, key=lambda file: natural_key(str(file)))


def _is_shard(entry: Entry) -> bool:
    """A link to nothing is one as well, so that it is missed."""
    name = PurePosixPath(entry.name)
    hidden = any(part.startswith(("_", ".")) for part in name.parts)
    return entry.kind in (FILE, DANGLING) and name.suffix in SUFFIXES and not hidden


def column_names(path: Path) -> list[str]:
    """The names of the columns of one shard. Raises: DataError when it is damaged."""
    try:
        with path.open("rb") as file:
            names = pa.parquet.read_schema(file).names if path.suffix == ".parquet" else read_ipc(file).column_names
    except (pa.ArrowException, OSError, MemoryError, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path, str(error).strip().partition("\n")[0][:200]) from error
    return list(names)


def read_table(path: Path, *, kind: str | None = None, also: str = "") -> Any:
    """Read one shard and verify it: page checksums, column hashes, Arrow's full validation, and the schema of `kind`.

    With `kind` only that table's columns are read, and `also` one that is there beside them.
    Raises: DataError naming the file when it is missing, truncated, damaged or of another schema.
    """
    try:
        table = _read(path, kind, also)
        table.validate(full=True)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except (pa.ArrowException, OSError, MemoryError, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path, str(error).strip().partition("\n")[0][:200].rstrip(".")) from error
    _verify_content(path, table, [*columns_of(kind), also] if kind else None)
    return table


def _read(path: Path, kind: str | None, also: str) -> Any:
    if path.suffix == ".arrow":
        with pa.OSFile(str(path), "r") as file:
            table = read_ipc(file)
        if kind is None:
            return table
        check_schema(table.schema, kind, source=str(path))
        return table.select([name for name in table.column_names if name in (*columns_of(kind), also)])
    with path.open("rb") as file:
        parquet = pa.parquet.ParquetFile(file, page_checksum_verification=True)
        if kind is None:
            return parquet.read()
        check_schema(parquet.schema_arrow, kind, source=str(path))
        names = parquet.schema_arrow.names
        return parquet.read(columns=[name for name in names if name in (*columns_of(kind), also)])


def write_table(path: Path, table: Any, *, compression_level: int = 3, **parquet_options: Any) -> None:
    """Write `table` to `path` atomically, Parquet or Arrow IPC by its suffix.

    Raises: OSError (disk full, permission) naming the path; DataError when the suffix is another.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: a table ends in {' or '.join(SUFFIXES)}.")
    hashes = json.dumps({name: column_sha256(table.column(name)) for name in table.column_names})
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), CONTENT_KEY: hashes})
    with atomic_writer(path) as file:
        if path.suffix == ".arrow":
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            return
        options: dict[str, Any] = {"compression": "zstd", "compression_level": compression_level, **parquet_options}
        pa.parquet.write_table(table, file, write_page_checksum=True, **options)


def _verify_content(path: Path, table: Any, columns: list[str] | None) -> None:
    written = (table.schema.metadata or {}).get(CONTENT_KEY)
    if written is None:
        return
    try:
        wanted = {str(name): str(digest) for name, digest in json.loads(written).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, "its list of column hashes cannot be read") from error
    if columns is not None:
        wanted = {name: digest for name, digest in wanted.items() if name in columns}
    if set(wanted) != set(table.column_names):
        raise _damaged(path, f"it has columns {table.column_names}, {sorted(wanted)} were written", hint=CHANGED)
    for name, digest in wanted.items():
        if column_sha256(table.column(name)) != digest:
            raise _damaged(path, f"the SHA-256 of column '{name}' is not the one recorded", hint=CHANGED)


def _damaged(path: Path, reason: str, *, hint: str = "") -> DataError:
    said = f"Is it complete? Restore it from a copy or make it again. {hint}"
    return DataError(f"{path} cannot be read: {reason}.", hint=said.strip())


def concatenate(tables: Iterable[Any], *, source: str) -> Any:
    """One table of several shards; string and list columns may differ in offset width between them.

    Raises: DataError naming `source` when a column has types that do not fit together.
    """
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{source}: the shards do not fit together: {error}.") from error
