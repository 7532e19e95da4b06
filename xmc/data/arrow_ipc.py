"""Arrow IPC in both of its formats: the file, which ends in a list of its record batches, and the stream, without one.

A stream that was cut off between two batches looks whole to Arrow, as does one that another stream was appended to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from xmc.counted import counted

FILE_BEGINS = b"ARROW1"
BEFORE_MESSAGE = b"\xff\xff\xff\xff"  # before 2019 a message began with its size at once
END_BYTES = 4  # the shortest mark that ends a stream


def is_stream(file: Any) -> bool:
    """Whether an open file begins as a stream does; it is at its start again."""
    start = file.read(len(FILE_BEGINS))
    file.seek(0)
    size = int.from_bytes(start[:4], "little")
    return not start.startswith(FILE_BEGINS) and (start.startswith(BEFORE_MESSAGE) or 0 < size < file.size())


def stream_batches(file: Any, reader: Any) -> Iterator[Any]:
    """The record batches of the stream that `reader` has opened on `file`.

    Raises: ArrowInvalid for a damaged stream, and where it does not end as the file does.
    """
    last = file.tell()
    for batch in reader:
        last = file.tell()
        yield batch
    if file.size() - last < END_BYTES:
        raise pa.ArrowInvalid("the stream has no end, as when it was cut off or its writer not closed")
    if file.tell() < file.size():
        at = f"{file.tell():,} of {counted(file.size(), 'byte')}"
        raise pa.ArrowInvalid(f"the stream ends after {at}, as when several are in one file")


def read_ipc(file: Any) -> Any:
    """The table of an open file of either format, with `plain_categories`. Raises: ArrowInvalid when it is damaged."""
    if is_stream(file):
        reader = pa.ipc.open_stream(file)
        table = pa.Table.from_batches(stream_batches(file, reader), reader.schema)
    else:
        table = pa.ipc.open_file(file).read_all()
    for number, field in enumerate(table.schema):
        type_ = plain_categories(pa.nulls(0, field.type)).type
        if type_ != field.type:
            chunks = [plain_categories(chunk) for chunk in table.column(number).chunks]
            table = table.set_column(number, field.with_type(type_), pa.chunked_array(chunks, type_))
    return table


def plain_categories(array: Any) -> Any:
    """The array; its categories of string views, as polars writes them, are ones of strings, which Arrow can cast.

    >>> views = pa.array(["a", "b"], pa.string_view())
    >>> plain_categories(pa.DictionaryArray.from_arrays(pa.array([1, 0]), views)).type.value_type
    DataType(large_string)
    """
    type_ = array.type
    if pa.types.is_dictionary(type_) and pa.types.is_string_view(type_.value_type):
        return pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(pa.large_string()))
    if not (pa.types.is_list(type_) or pa.types.is_large_list(type_)):
        return array
    values = plain_categories(array.values)
    if values.type == type_.value_type:
        return array
    plain = (pa.list_ if pa.types.is_list(type_) else pa.large_list)(values.type)
    buffers = array.buffers()[:2]  # which rows are null, and where each begins
    return pa.Array.from_buffers(plain, len(array), buffers, array.null_count, array.offset, children=[values])
