"""Each bad row is refused with file, rows and ids; what is left out of a split is counted in the notes."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.shards import write_table
from xmc.data.tables import (
    MAX_TEXT_BYTES,
    LabelTable,
    QueryTable,
    label_table_to_arrow,
    query_table_to_arrow,
    read_labels,
    read_queries,
)
from xmc.errors import DataError
from xmc.values import Positives

LABELS = LabelTable(["a", "b", "c"], ["Anton", "Berta", "Cäsar"])


def labels_file(tmp_path, ids, texts):
    pq.write_table(pa.table({"label_id": pa.array(ids, pa.string()), "text": texts}), tmp_path / "labels.parquet")
    return [tmp_path / "labels.parquet"]


def queries_file(tmp_path, ids, texts, positives, **more):
    columns = {"query_id": pa.array(ids, pa.string()), "text": texts, "positives": positives, **more}
    pq.write_table(pa.table(columns), tmp_path / "q.parquet")
    return [tmp_path / "q.parquet"]


def test_round_trip(tmp_path):
    positives = Positives(np.array([0, 2, 3]), np.array([0, 2, 1], np.int32), np.array([1, 0.5, 2], np.float32))
    queries = QueryTable(["x", "y"], ["one", "two"], positives)
    write_table(tmp_path / "labels.arrow", label_table_to_arrow(LABELS))
    write_table(tmp_path / "q.arrow", query_table_to_arrow(queries))
    assert read_labels([tmp_path / "labels.arrow"]) == LABELS
    back, notes = read_queries([tmp_path / "q.arrow"], LABELS, split="train")
    assert (back.ids, back.texts, notes) == (queries.ids, queries.texts, ())
    np.testing.assert_array_equal(back.positives.weights, positives.weights)
    assert back.take(np.array([1])).positives.label_rows.tolist() == [1]
    assert back.take(np.array([1])).texts == ["two"]


def test_binary_positives_have_no_relevance_column():
    positives = Positives(np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32))
    assert query_table_to_arrow(QueryTable(["x"], ["t"], positives)).column_names == ["query_id", "text", "positives"]


@pytest.mark.parametrize(
    ("ids", "texts", "message"),
    [
        (["a", "b", "a", "a"], ["x"] * 4, r"'label_id' must be unique, 1 id is repeated: 'a' \(3 times\)"),
        (["a", None, ""], ["x"] * 3, r"'label_id' is null or empty in 2 rows: row 1, row 2"),
        (["a", "b", "c"], ["x", " \t\n ", None], r"2 labels have no text: row 1 \('b'\), row 2 \('c'\)"),
        (["a"], ["x" * (MAX_TEXT_BYTES + 1)], r"1 text is longer than 1,000,000 bytes: row 0 \('a'\)"),
        ([], pa.array([], pa.string()), "has no labels"),
    ],
)
def test_bad_labels(tmp_path, ids, texts, message):
    with pytest.raises(DataError, match=message) as caught:
        read_labels(labels_file(tmp_path, ids, texts))
    assert "labels.parquet" in str(caught.value)


def test_text_at_the_limit_is_allowed(tmp_path):
    text = "é" * (MAX_TEXT_BYTES // 2)
    assert read_labels(labels_file(tmp_path, ["a"], [text])).texts == [text]


@pytest.mark.parametrize(
    ("ids", "texts", "positives", "message"),
    [
        (["x", "x"], ["t", "t"], [["a"], ["b"]], r"'query_id' must be unique, 1 id is repeated: 'x' \(2 times\)"),
        ([None], ["t"], [["a"]], "'query_id' is null or empty in 1 row: row 0"),
        (["x"], ["t" * (MAX_TEXT_BYTES + 1)], [["a"]], r"longer than 1,000,000 bytes: row 0 \('x'\)"),
        (["x", "y"], ["t", "t"], [["a"], ["z"]], r"unknown label ids, 1 in all; query 'y' \(row 1\): 'z'"),
        (["x"], ["t"], [[3]], r"label rows outside 0\.\.2"),
    ],
)
def test_bad_queries(tmp_path, ids, texts, positives, message):
    with pytest.raises(DataError, match=message):
        read_queries(queries_file(tmp_path, ids, texts, positives), LABELS, split="train")


def test_what_is_left_out_is_counted(tmp_path):
    shards = queries_file(
        tmp_path,
        ["q0", "q1", "q2", "q3", "q4"],
        ["t0", "  ", None, "t3", "t4"],
        [["a"], ["b"], [], [], ["c", "b", "c"]],
        relevance=[[1.0], [1.0], [], [], [1.0, 2.0, 3.0]],
    )
    queries, notes = read_queries(shards, LABELS, split="dev")
    assert (queries.ids, queries.texts) == (["q0", "q4"], ["t0", "t4"])
    assert queries.positives.label_rows.tolist() == [0, 1, 2]
    assert queries.positives.weights.tolist() == [1.0, 2.0, 3.0]
    assert notes == (
        "dev: 2 of 5 queries are without text and are left out",
        "dev: 1 of 5 queries are without positives and are left out",
        "dev: 1 positive stands twice in the same query and is merged",
    )


def test_shards_are_one_table(tmp_path):
    large = pa.array([["c"]], pa.large_list(pa.string()))
    for number, (query_id, positives) in enumerate([("x", [["a"]]), ("y", large)]):
        table = pa.table({"query_id": [query_id], "text": ["t"], "positives": positives})
        pq.write_table(table, tmp_path / f"part-{number}.parquet")
    shards = sorted(tmp_path.glob("part-*"))
    queries, _ = read_queries(shards, LABELS, split="train")
    assert (queries.ids, queries.positives.label_rows.tolist()) == (["x", "y"], [0, 2])
    with pytest.raises(DataError, match=r"2 shards\): column 'query_id' must be unique"):
        pq.write_table(table.set_column(0, "query_id", pa.array(["x"])), shards[1])
        read_queries(shards, LABELS, split="train")
    pq.write_table(table.set_column(2, "positives", pa.array([[1]])), shards[1])
    with pytest.raises(DataError, match="the shards do not fit together"):
        read_queries(shards, LABELS, split="train")


@pytest.mark.parametrize(
    ("ids", "refused"), [(["1", "2", "3"], "row 0 is label '1'"), (["0", "1", "2"], ""), (["1", "2", "x"], "")]
)
def test_numbers_that_may_be_ids_or_rows_are_refused(tmp_path, ids, refused):
    labels = LabelTable(ids, ["Anton", "Berta", "Cäsar"])
    shards = queries_file(tmp_path, ["q"], ["t"], [[1, 2]])
    if refused:
        with pytest.raises(DataError, match=f"rows of the label table, counted from 0, .* {refused}"):
            read_queries(shards, labels, split="train")
        write_table(shards[0], pq.read_table(shards[0]))  # what xmc writes are rows
    assert read_queries(shards, labels, split="train")[0].positives.label_rows.tolist() == [1, 2]
    by_id = queries_file(tmp_path, ["q"], ["t"], [[ids[1], ids[2]]])
    assert read_queries(by_id, labels, split="train")[0].positives.label_rows.tolist() == [1, 2]


def test_lone_surrogates_cannot_be_written():
    with pytest.raises(UnicodeEncodeError):
        label_table_to_arrow(LabelTable(["a"], [json.loads('"\\ud800"')]))
