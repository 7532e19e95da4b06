"""Every wrong column is named with its file, its type and the types allowed."""

import pyarrow as pa
import pytest

from xmc.data.schemas import TABLES, check_schema, columns_of, schema_of
from xmc.errors import DataError


@pytest.mark.parametrize("kind", TABLES)
def test_what_xmc_writes_passes_its_own_check(kind):
    schema = schema_of(kind)
    check_schema(schema, kind, source="t.parquet")
    assert schema.metadata == {b"xmc.schema": f"{kind}/1".encode()}
    assert schema.names == columns_of(kind)
    optional = [column.name for column in TABLES[kind] if column.optional]
    check_schema(schema_of(kind, without=optional), kind, source="t.parquet")


@pytest.mark.parametrize("positives", [pa.list_(pa.int64()), pa.large_list(pa.large_string()), pa.list_(pa.string())])
def test_users_may_bring_label_ids_or_rows(positives):
    check_schema(
        pa.schema({"query_id": pa.string(), "text": pa.string(), "positives": positives, "note": pa.bool_()}),
        "queries",
        source="q.parquet",
    )


@pytest.mark.parametrize(
    ("column", "type_", "allowed"),
    [
        ("query_id", pa.int64(), "string or large_string"),
        ("text", pa.binary(), "string or large_string"),
        ("positives", pa.string(), "large_list<int32> of label rows, or list<string> of label ids"),
        ("positives", pa.list_(pa.float32()), "large_list<int32> of label rows, or list<string> of label ids"),
        ("relevance", pa.list_(pa.string()), "large_list<float32>"),
    ],
)
def test_wrong_type(column, type_, allowed):
    schema = schema_of("queries")
    schema = schema.set(schema.get_field_index(column), pa.field(column, type_))
    with pytest.raises(DataError) as caught:
        check_schema(schema, "queries", source="a/q.parquet")
    assert caught.value.message == f"a/q.parquet: column '{column}' has type {type_}, allowed: {allowed}."
    assert (f'df["{column}"].astype(str)' in caught.value.hint) == (column == "query_id")


def test_missing_column_names_what_there_is():
    with pytest.raises(DataError, match=r"l\.parquet: no column named 'text' \(it has: label_id, title\); .* string"):
        check_schema(pa.schema({"label_id": pa.string(), "title": pa.string()}), "labels", source="l.parquet")


def test_column_twice():
    schema = pa.schema([("label_id", pa.string()), ("text", pa.string()), ("text", pa.string())])
    with pytest.raises(DataError, match="2 columns named 'text'"):
        check_schema(schema, "labels", source="l.parquet")


@pytest.mark.parametrize("written", [b"hits/1", b"labels/2"])
def test_metadata_of_another_table_or_version(written):
    schema = schema_of("labels").with_metadata({b"xmc.schema": written})
    with pytest.raises(DataError, match=f"a table '{written.decode()}', expected 'labels/1'"):
        check_schema(schema, "labels", source="l.parquet")
