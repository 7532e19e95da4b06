"""Read one shard as a stream of record batches, in bounded memory, every batch verified as far as Arrow can."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from xmc.data.arrow_ipc import is_stream, stream_batches
from xmc.data.other_kinds import IS_IT_COMPLETE, hint_of_content
from xmc.data.shard_list import ShardFile, unreadable
from xmc.errors import DataError

BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class ShardStream:
    """An open shard: its schema, and its batches, each with the share of the shard that ends with it."""

    schema: Any
    batches: Iterator[tuple[Any, float]]


@contextlib.contextmanager
def open_stream(shard: ShardFile, *, columns: Sequence[Sequence[str]], rows: int) -> Iterator[ShardStream]:
    """Open a `.parquet` or `.arrow` shard (file or stream format); of each of `columns` the first that it has is read.

    Memory: of Parquet a batch and a page of each column, of Arrow IPC the largest record batch that was written.
    Raises: DataError naming the shard when it is missing, refused or damaged, also in the middle.
    """
    place = shard.location
    with unreadable(place):
        system, path = place.opened()
        file = system.open_input_file(path)
    with file:
        with _damage_named(shard, file):
            stream = (_parquet if shard.name.endswith(".parquet") else _ipc)(file, columns, rows, shard)
        yield stream  # outside: what the caller's block raises is not damage of this file


@contextlib.contextmanager
def _damage_named(shard: ShardFile, opened: Any = None) -> Iterator[None]:
    """Let what Arrow refuses be a DataError; of a file that was just `opened`, another kind of file is told as that."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(
            f"{shard.location.shown} cannot be read: {reason}.",
            hint=hint_of_content(opened, shard.name) if opened and not opened.closed else IS_IT_COMPLETE,
        ) from error


def _verify(batch: Any) -> None:
    """Arrow's full validation; of the texts all but their UTF-8, which is looked at row by row later."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        (_as_bytes(column) if name == "text" else column).validate(full=True)


def _as_bytes(column: Any) -> Any:
    """A column of strings as one of bytes, not copied; another as it is."""
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, _as_bytes(column.dictionary))
    bytes_of = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    return column.view(bytes_of[column.type]) if column.type in bytes_of else column


def _wanted(schema: Any, columns: Sequence[Sequence[str]]) -> list[str]:
    """The names of the columns that are read, in the order of the schema."""
    wanted = {next((name for name in names if name in schema.names), None) for names in columns}
    return [name for name in schema.names if name in wanted]


def _parquet(file: Any, columns: Sequence[Sequence[str]], rows: int, shard: ShardFile) -> ShardStream:
    metadata = pa.parquet.read_metadata(file)
    source = pa.parquet.ParquetFile(
        file,
        metadata=metadata,
        read_dictionary=_categories(metadata),
        page_checksum_verification=True,
        buffer_size=BUFFER_BYTES,
        pre_buffer=False,
    )
    wanted = _wanted(source.schema_arrow, columns)
    total = source.metadata.num_rows

    def batches() -> Iterator[tuple[Any, float]]:
        done = 0
        stream = source.iter_batches(batch_size=rows, columns=wanted)
        while True:
            with _damage_named(shard):
                batch = next(stream, None)
                if batch is None:
                    return
                _verify(batch)
            done += batch.num_rows
            yield batch, done / max(total, 1)

    return ShardStream(source.schema_arrow, batches())


def _categories(metadata: Any) -> list[str]:
    """The column of the texts where it is one of categories, to be read so.

    Else Arrow makes their numbers as narrow as they were (of pandas: 8 bits), by a way that refuses what is no UTF-8.
    """
    fields = metadata.schema.to_arrow_schema()
    return [field.name for field in fields if field.name == "text" and pa.types.is_dictionary(field.type)]


def _ipc(file: Any, columns: Sequence[Sequence[str]], rows: int, shard: ShardFile) -> ShardStream:
    in_stream = is_stream(file)
    open_ipc = pa.ipc.open_stream if in_stream else pa.ipc.open_file
    schema = open_ipc(file).schema
    file.seek(0)
    wanted = _wanted(schema, columns)
    options = pa.ipc.IpcReadOptions(included_fields=[i for i, name in enumerate(schema.names) if name in wanted])
    opened = open_ipc(file, options=options)
    size = max(shard.size, 1)

    def large() -> Iterator[tuple[Any, float]]:
        if in_stream:
            for batch in stream_batches(file, opened):
                yield batch, min(1.0, file.tell() / size)
        else:
            for number in range(opened.num_record_batches):
                yield opened.get_batch(number), (number + 1) / opened.num_record_batches

    def batches() -> Iterator[tuple[Any, float]]:
        stream, before = large(), 0.0
        while True:
            with _damage_named(shard):
                batch, after = next(stream, (None, 1.0))
                if batch is None:
                    return
                _verify(batch)
            for start in range(0, batch.num_rows, rows):
                part = batch.slice(start, rows)
                yield part, before + (after - before) * (start + part.num_rows) / batch.num_rows
            before = after

    return ShardStream(schema, batches())
