"""Invariants: a table is answered as its texts are, in order, whatever its batches; a row that cannot be encoded says
why by the rules of `search`; nothing is copied that Arrow can share."""

import numpy as np
import pyarrow as pa
import pytest

from xmc import Retriever
from xmc.errors import ConfigError, DataError
from xmc.retrieve import table_search
from xmc.retrieve.query_checks import MAX_TEXT_CHARACTERS, check_texts
from xmc.retrieve.query_columns import STATUSES, QueryColumns, count_statuses, text_status
from xmc.retrieve.table_search import TableSearch

TEXTS = ["tender tram", "vivid mango", "lemon", "zebra"]


@pytest.fixture(scope="module")
def retriever(tiny_run):
    return Retriever.load(tiny_run)


def label_ids(retriever, texts, k):
    return [[hit.label_id for hit in hits] for hits in retriever.search(texts, k=k)]


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_a_table_is_answered_as_its_texts_are(retriever, type_):
    table = pa.table({"query_id": ["a", "b", "c", "d"], "text": pa.array(TEXTS).cast(type_), "more": [1, 2, 3, 4]})
    found = retriever.search_table(table, k=3)
    assert found.column_names == ["query_id", "label_ids", "scores", "status"]
    assert found["query_id"].to_pylist() == ["a", "b", "c", "d"] and set(found["status"].to_pylist()) == {"ok"}
    assert found["label_ids"].to_pylist() == label_ids(retriever, TEXTS, 3)
    for scores, hits in zip(found["scores"].to_pylist(), retriever.search(TEXTS, k=3), strict=True):
        np.testing.assert_allclose(scores, [hit.score for hit in hits], atol=1e-6)
    assert retriever.search_table(table.slice(1, 2), k=3)["label_ids"].to_pylist() == label_ids(
        retriever, TEXTS[1:3], 3
    )
    assert retriever.search_table(table.slice(0, 0), k=3).num_rows == 0
    assert [len(row) for row in retriever.search_table(table, k=1000)["label_ids"].to_pylist()] == [60] * 4


def test_batches_leave_no_trace(retriever, monkeypatch):
    table = pa.table({"query_id": range(40), "text": TEXTS * 10})
    whole = retriever.search_table(table, k=3)
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))
    assert pa.Table.from_batches(retriever.search_batches(reader, k=3)).to_pylist() == whole.to_pylist()
    monkeypatch.setattr(table_search, "MAX_HITS", 9)  # three rows at a time
    assert retriever.search_table(table, k=3).to_pylist() == whole.to_pylist()
    batches = list(retriever.search_batches(table.to_reader(), k=3))
    assert [batch.num_rows for batch in batches] == [3] * 13 + [1]


def test_rows_that_cannot_be_encoded(retriever):
    values = [b"tram", None, b" \n", b"bad \xff", b"x" * (MAX_TEXT_CHARACTERS + 1), b"zebra"]
    text = pa.array(values, pa.binary()).view(pa.string())
    found = retriever.search_table(pa.table({"query_id": list("abcdef"), "text": text}), k=2)
    assert found["status"].to_pylist() == ["ok", "null", "blank", "invalid-text", "too-long", "ok"]
    expected = label_ids(retriever, ["tram", "zebra"], 2)
    assert found["label_ids"].to_pylist() == [expected[0], [], [], [], [], expected[1]]
    none = retriever.search_table(pa.table({"query_id": ["a"], "text": pa.array([None], pa.string())}), k=2)
    assert none.to_pylist() == [{"query_id": "a", "label_ids": [], "scores": [], "status": "null"}]


@pytest.mark.parametrize("text", ["tram", "", " \t", "\x1c", "\u3000", "x" * (MAX_TEXT_CHARACTERS + 1), "ä\u200b"])
def test_the_words_follow_the_rules_of_search(text):
    try:
        check_texts([text])
        accepted = True
    except DataError:
        accepted = False
    assert (text_status(text) == "ok") == accepted and text_status(text) in STATUSES


@pytest.mark.parametrize("type_", [pa.float32(), pa.float16(), pa.float64()])
def test_embeddings_of_any_width_of_number(retriever, type_):
    vectors = retriever.encode(TEXTS)
    column = pa.array(list(vectors.numpy()), pa.list_(pa.float32(), vectors.shape[1]))
    table = pa.table({"id": [5, 6, 7, 8], "embedding": column.cast(pa.list_(type_, vectors.shape[1]))})
    found = retriever.search_table(table.slice(1), k=2)
    assert found["query_id"].to_pylist() == [6, 7, 8]
    assert found["label_ids"].to_pylist() == label_ids(retriever, TEXTS[1:], 2)


def test_embeddings_with_nulls_do_not_shift(retriever):
    width = retriever.encoder.dimension
    vectors = retriever.encode(TEXTS).numpy()
    part = [*vectors[0][:-1].tolist(), None]
    rows = [None, vectors[1], part, vectors[2], [float("inf")] * width]
    table = pa.table({"id": list("abcde"), "embedding": pa.array(rows, pa.list_(pa.float32(), width))})
    found = retriever.search_table(table, k=1)
    assert found["status"].to_pylist() == ["null", "ok", "not-finite", "ok", "not-finite"]
    expected = label_ids(retriever, TEXTS[1:3], 1)
    assert found["label_ids"].to_pylist() == [[], expected[0], [], expected[1], []]


@pytest.mark.parametrize("type_", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_embeddings_in_lists_of_no_fixed_size(retriever, type_):
    """As Spark and pandas write them; a row of another width says so, and shifts no other."""
    vectors = retriever.encode(TEXTS).numpy().tolist()
    rows = [[1.0], vectors[0], None, vectors[1], [], [*vectors[2], 1.0], [*vectors[3][:-1], None], vectors[3]]
    table = pa.table({"id": range(8), "embedding": pa.array(rows, type_)})
    found = retriever.search_table(table.slice(1), k=1)
    wrong = "wrong-width"
    assert found["status"].to_pylist() == ["ok", "null", "ok", wrong, wrong, "not-finite", "ok"]
    expected = label_ids(retriever, [TEXTS[0], TEXTS[1], TEXTS[3]], 1)
    assert [hits for hits in found["label_ids"].to_pylist() if hits] == expected
    assert retriever.search_table(table.slice(0, 1), k=1)["status"].to_pylist() == [wrong]


def test_categories_as_polars_writes_them(retriever):
    """A dictionary of string views, which Arrow itself casts to nothing else."""
    words = pa.array(["tender tram", None, "lemon"]).cast(pa.string_view())
    column = pa.DictionaryArray.from_arrays(pa.array([2, 1, None, 0], pa.uint32()), words)
    found = retriever.search_table(pa.table({"query_id": column, "text": column}), k=2)
    assert found["query_id"].to_pylist() == ["lemon", None, None, "tender tram"]
    assert found["status"].to_pylist() == ["ok", "null", "null", "ok"]
    expected = label_ids(retriever, ["lemon", "tender tram"], 2)
    assert found["label_ids"].to_pylist() == [expected[0], [], [], expected[1]]


def test_a_column_without_any_value(retriever):
    """Arrow gives it the type null; pandas has such in each table without rows."""
    for rows in (0, 2):
        found = retriever.search_table(pa.table({"id": pa.nulls(rows), "embedding": pa.nulls(rows)}), k=1)
        assert found.schema.field("query_id").type == pa.string() and found["query_id"].to_pylist() == [None] * rows
        assert found["status"].to_pylist() == ["null"] * rows
    vectors = pa.array([[], [None] * retriever.encoder.dimension, None])
    assert vectors.type == pa.list_(pa.null())
    found = retriever.search_table(pa.table({"id": ["a", "b", "c"], "embedding": vectors}), k=1)
    assert found["status"].to_pylist() == ["wrong-width", "not-finite", "null"]
    found = retriever.search_table(pa.table({"query_id": ["a", "b"], "text": pa.nulls(2)}), k=1)
    assert found["status"].to_pylist() == ["null", "null"] and found["label_ids"].to_pylist() == [[], []]


def test_vectors_and_ids_are_not_copied(retriever):
    width = retriever.encoder.dimension
    numbers = pa.array(np.ones(3 * width, np.float32))
    batch = pa.record_batch({"id": [1, 2, 3], "embedding": pa.FixedSizeListArray.from_arrays(numbers, width)})
    columns = QueryColumns.of(batch.schema, dimension=width)
    vectors_ND, _ = columns.embeddings(batch.slice(1))
    assert vectors_ND.data_ptr() == numbers.buffers()[1].address + 4 * width
    assert columns.ids(batch).buffers()[1].address == batch.column("id").buffers()[1].address


def test_too_little_memory_for_a_batch_halves_it(retriever, monkeypatch):
    table = pa.table({"query_id": range(8), "text": TEXTS * 2})
    expected = retriever.search_table(table, k=2)
    sizes = []

    def narrow(self, queries_QD, *, k, allowed):
        sizes.append(len(queries_QD))
        if len(queries_QD) > 3:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return self.index.search(queries_QD, k)

    monkeypatch.setattr(Retriever, "search_embeddings", narrow)
    assert retriever.search_table(table, k=2)["label_ids"].to_pylist() == expected["label_ids"].to_pylist()
    assert sizes == [8, 4, 2, 2, 4, 2, 2]

    def broken(self, queries_QD, *, k, allowed):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Retriever, "search_embeddings", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        retriever.search_table(table, k=2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"]}, "column 'query_id' is missing"),
        ({"query_id": ["a"]}, "column 'text' is missing"),
        ({"query_id": ["a"], "text": [1]}, "column 'text' has type int64, allowed: string"),
        ({"query_id": [0.5], "text": ["a"]}, "column 'query_id' has type double, allowed: string"),
        (
            {"id": ["a"], "embedding": pa.array([[1.0]], pa.list_(pa.float32(), 1))},
            r"fixed_size_list<item: float>\[1\], allowed: fixed_size_list, list .* with 32 numbers",
        ),
        ({"id": ["a"], "embedding": [["1"]]}, r"fixed_size_list, list or large_list of float16, .* with 32 numbers"),
        (
            {"id": ["a"], "embedding": pa.array([[1.0] * 32], pa.list_view(pa.float32()))},
            r"has type list_view<item: float>, allowed: fixed_size_list, list or large_list of float16, float32 or "
            r"float64, with 32 numbers, .* fixed_size_list<float32>\[32\]",
        ),
    ],
)
def test_wrong_columns(retriever, columns, message):
    with pytest.raises(DataError, match=message):
        retriever.search_table(pa.table(columns))


def test_wrong_options(retriever):
    table = pa.table({"query_id": ["a"], "text": ["b"]})
    with pytest.raises(ConfigError, match="k must lie in"):
        retriever.search_table(table, k=0)
    for reader, kind in ((table.to_batches(), "list"), (table, "Table"), (table.to_batches()[0], "RecordBatch")):
        with pytest.raises(DataError, match=f"reads a RecordBatchReader, got {kind}"):
            retriever.search_batches(reader)
    for other, kind in ((table.to_batches()[0], "RecordBatch"), ({"text": []}, "dict"), ([], "list")):
        with pytest.raises(DataError, match=f"reads a pyarrow.Table, got {kind}"):
            retriever.search_table(other)


def test_embeddings_where_texts_are_needed(retriever):
    from dataclasses import replace

    from xmc.retrieve.reranking import Reranking

    schema = pa.schema({"query_id": pa.string(), "embedding": pa.list_(pa.float32(), 32)})
    with pytest.raises(DataError, match=r"a\.parquet has embeddings, and the reranker of this run reads texts"):
        TableSearch.of(replace(retriever, reranking=Reranking(None, 5, 1.0)), schema, k=3, source="a.parquet")


def test_statuses_are_counted_in_their_order():
    assert list(count_statuses(["blank", "ok", "null", "ok"]).items()) == [("ok", 2), ("null", 1), ("blank", 1)]
    assert count_statuses([]) == {}
