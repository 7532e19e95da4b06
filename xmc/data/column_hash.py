"""A SHA-256 of an Arrow column's values that does not depend on how they are chunked, sliced or compressed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from xmc.data.schemas import is_string


def column_sha256(column: Any) -> str:
    """Hex SHA-256 of a column's values, whatever its chunks, slices and compression; null differs from empty.

    >>> column = pa.chunked_array([["a", "bc"], [None]])
    >>> column_sha256(column) == column_sha256(pa.chunked_array([["x", "a", "bc", None]]).slice(1))
    True
    >>> column_sha256(column) == column_sha256(pa.chunked_array([["ab", "c", None]]))
    False
    """
    streams: list[Any] = []
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        _hash_array(chunk, streams, 0)
    digest = hashlib.sha256(_type_name(column.type).encode())
    for stream in streams:
        digest.update(stream.digest())
    return digest.hexdigest()


def _type_name(type_: Any) -> str:
    """The type without what a file format may change: names of list elements, widths of offsets, dictionaries."""
    if pa.types.is_dictionary(type_):
        return _type_name(type_.value_type)
    if pa.types.is_fixed_size_list(type_):
        return f"list[{_type_name(type_.value_type)}, {type_.list_size}]"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"list[{_type_name(type_.value_type)}]"
    return "string" if is_string(type_) else str(type_)


def _hash_array(array: Any, streams: list[Any], position: int) -> int:
    """Feed one chunk's nulls, lengths and values to separate hashes, so that chunk borders leave no trace."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    nulls = array.is_null().to_numpy(zero_copy_only=False)
    position = _feed(streams, position, np.ascontiguousarray(nulls))
    type_ = array.type
    if pa.types.is_fixed_size_list(type_):
        return _hash_array(array.flatten(), streams, position)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        lengths = array.value_lengths().fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return _hash_array(array.flatten(), streams, _feed(streams, position, np.ascontiguousarray(lengths)))
    if is_string(type_):
        return _hash_binary(array.cast(pa.large_string()), streams, position)
    values = array.fill_null(pa.scalar(0).cast(type_)) if array.null_count else array
    return _feed(streams, position, np.ascontiguousarray(values.to_numpy(zero_copy_only=False)))


def _hash_binary(array: Any, streams: list[Any], position: int) -> int:
    array = array.fill_null("") if array.null_count else array
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if not len(array):
        offsets = np.zeros(1, dtype=np.int64)
    position = _feed(streams, position, np.diff(offsets))
    content = (
        np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]] if data is not None else np.empty(0, np.uint8)
    )
    return _feed(streams, position, content)


def _feed(streams: list[Any], position: int, values: Any) -> int:
    while len(streams) <= position:
        streams.append(hashlib.sha256())
    streams[position].update(values)
    return position + 1
