"""The Arrow schemas of xmc's tables, and the check that names file, column, type got and types allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from xmc.counted import counted
from xmc.errors import DataError

SCHEMA_KEY = b"xmc.schema"


@dataclass(frozen=True)
class Column:
    """One column of a table: its name, the type xmc writes, other types it reads, and whether it may be missing."""

    name: str
    type: pa.DataType
    allowed: str
    accepts: Callable[[pa.DataType], bool]
    optional: bool = False


def is_string(type_: pa.DataType) -> bool:
    """Whether it is one of Arrow's types of strings."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def is_text(type_: pa.DataType) -> bool:
    """Whether values are strings, perhaps as categories."""
    return is_string(type_.value_type if pa.types.is_dictionary(type_) else type_)


def _is_id(type_: pa.DataType) -> bool:
    return is_text(type_) or bool(pa.types.is_integer(type_))


def _is_float(type_: pa.DataType) -> bool:
    return bool(pa.types.is_floating(type_))


def _is_list_of(*tests: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    def accepts(type_: pa.DataType) -> bool:
        is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
        return bool(is_list and any(test(type_.value_type) for test in tests))

    return accepts


def _strings(name: str, *, large: bool = False, optional: bool = False) -> Column:
    type_ = pa.large_string() if large else pa.string()
    return Column(name, type_, "string or large_string", is_text, optional)


def _floats(name: str, *, optional: bool = False) -> Column:
    return Column(name, pa.list_(pa.float32()), "list of float32", _is_list_of(_is_float), optional)


def _numbers(name: str, *, optional: bool = False) -> Column:
    accepts = _is_list_of(_is_float, pa.types.is_integer, pa.types.is_boolean)
    return Column(name, pa.list_(pa.float64()), "list of numbers", accepts, optional)


def _ids(name: str) -> Column:
    return Column(name, pa.list_(pa.string()), "list of string", _is_list_of(is_text))


_POSITIVES = Column(
    "positives",
    pa.large_list(pa.int32()),
    "large_list<int32> of label rows, or list<string> of label ids",
    _is_list_of(pa.types.is_integer, is_text),
)
_RELEVANCE = Column(
    "relevance", pa.large_list(pa.float32()), "large_list<float32>", _is_list_of(_is_float), optional=True
)

TABLES: Mapping[str, tuple[Column, ...]] = {
    "labels": (
        _strings("label_id"),
        _strings("text", large=True),
        Column("train_count", pa.int64(), "int64", pa.types.is_int64, optional=True),
    ),
    "queries": (
        _strings("query_id"),
        _strings("text", large=True),
        _POSITIVES,
        _RELEVANCE,
        _strings("bag_id", optional=True),
    ),
    "hits": (
        Column("query_id", pa.string(), "string, large_string or an integer", _is_id),
        _ids("label_ids"),
        _floats("scores"),
        _floats("probabilities", optional=True),
        Column("status", pa.string(), "string or large_string", is_text, optional=True),
    ),
    "clicks": (
        _strings("query_id"),
        _strings("text", large=True),
        _ids("candidates"),
        _ids("label_ids"),
        _numbers("propensities"),
        _numbers("rewards"),
        _numbers("rank_propensities", optional=True),
    ),
}
VERSION = 1
_NOT_NULL = frozenset({"label_id", "query_id", "bag_id"})


def schema_of(kind: str, *, without: Iterable[str] = ()) -> pa.Schema:
    """The schema that xmc writes for a table of `kind`, metadata included; `without` leaves out optional columns.

    >>> schema_of("queries", without=["relevance", "bag_id"]).names
    ['query_id', 'text', 'positives']
    """
    left_out = set(without)
    fields = [
        pa.field(column.name, column.type, nullable=column.name not in _NOT_NULL)
        for column in TABLES[kind]
        if column.name not in left_out
    ]
    return pa.schema(fields, metadata={SCHEMA_KEY: f"{kind}/{VERSION}"})


def columns_of(kind: str) -> list[str]:
    """The column names of a table of `kind`, optional ones included."""
    return [column.name for column in TABLES[kind]]


def check_schema(schema: Any, kind: str, *, source: str) -> None:
    """Check that a table read from `source` has the columns and types of `kind`; further columns are left alone.

    Raises: DataError naming file, column, type got and types allowed.

    >>> check_schema(pa.schema({"label_id": pa.int64(), "text": pa.string()}), "labels", source="l.arrow")
    Traceback (most recent call last):
    xmc.errors.DataError: l.arrow: column 'label_id' has type int64, allowed: string or large_string. In pandas: ...
    """
    _check_metadata(schema, kind, source)
    for column in TABLES[kind]:
        positions = schema.get_all_field_indices(column.name)
        if not positions and column.optional:
            continue
        if len(positions) != 1:
            found = counted(len(positions), "column") if positions else "no column"
            raise DataError(
                f"{source}: {found} named '{column.name}' (it has: {', '.join(schema.names) or 'none'}); a table of"
                f" {kind} needs one, of type {column.allowed}."
            )
        got = schema.field(positions[0]).type
        if not column.accepts(got):
            raise DataError(
                f"{source}: column '{column.name}' has type {got}, allowed: {column.allowed}.",
                hint=_as_text(column.name) if column.name.endswith("_id") and pa.types.is_integer(got) else "",
            )


def _as_text(column: str) -> str:
    said = f"""In pandas: df["{column}"] = df["{column}"].astype(str)."""
    if column != "label_id":
        return said
    return f"{said} Ids in 'positives' must be strings then, too: whole numbers there are rows of the label table."


def _check_metadata(schema: Any, kind: str, source: str) -> None:
    written = (schema.metadata or {}).get(SCHEMA_KEY, b"").decode("utf-8", "replace")
    if written and written != f"{kind}/{VERSION}":
        raise DataError(
            f"{source}: its metadata says it is a table '{written}', expected '{kind}/{VERSION}'.",
            hint="Is it the right file, and was it written by a later xmc?",
        )
