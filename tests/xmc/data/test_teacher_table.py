"""Invariants: a table of hits comes out by training query and label row, with every positive; what is wrong is refused
with the queries that are meant."""

import numpy as np
import pyarrow as pa
import pytest

from xmc.data.shards import write_table
from xmc.data.teacher_table import read_teacher_scores
from xmc.errors import DataError
from xmc.values import Positives

LABELS = ["a", "b", "c", "d"]
QUERIES = ["q1", "q2", "q3"]
POSITIVES = Positives(np.array([0, 1, 3, 4]), np.array([1, 0, 3, 2], np.int32), np.ones(4, np.float32))
ROWS = {
    "q3": (["d"], [-1.0]),
    "other": (["a"], [9.0]),
    "q1": (["d", "b"], [2.0, 1.0]),
    "q2": (["d", "b"], [0.5, -0.25]),
}


def table_of(rows, *, id_type=None, score_type=None):
    ids, lists = list(rows), list(rows.values())
    return pa.table(
        {
            "query_id": pa.array(ids, id_type or pa.string()),
            "label_ids": pa.array([each and each[0] for each in lists], pa.list_(pa.string())),
            "scores": pa.array(
                [each and np.array(each[1], np.float16) for each in lists], score_type or pa.list_(pa.float16())
            ),
        }
    )


def read(tmp_path, *tables, query_ids=QUERIES, positives=POSITIVES):
    shards = [tmp_path / f"part-{number}.{'arrow' if number else 'parquet'}" for number in range(len(tables))]
    for shard, table in zip(shards, tables, strict=True):
        write_table(shard, table)
    return read_teacher_scores(shards, query_ids, LABELS, positives)


def as_lists(hits):
    return [dict(zip(rows.tolist(), scores.tolist(), strict=True)) for rows, scores in hits]


def test_shortlists_by_training_query_with_missing_positives_at_the_lowest_score(tmp_path):
    hits = read(tmp_path, table_of(ROWS))
    assert as_lists(hits) == [{1: 1.0, 3: 2.0}, {0: -0.25, 1: -0.25, 3: 0.5}, {2: -1.0, 3: -1.0}]
    assert hits.offsets.tolist() == [0, 2, 5, 7] and hits.scores.dtype == np.float32
    assert all(np.all(np.diff(rows) > 0) for rows, _ in hits)


def test_shards_and_the_types_that_others_write(tmp_path):
    first = table_of({"q3": ROWS["q3"]}, score_type=pa.list_(pa.float64()))
    rest = table_of(
        {name: ROWS[name] for name in ("q1", "q2")}, id_type=pa.large_string(), score_type=pa.large_list(pa.float32())
    )
    assert as_lists(read(tmp_path, first, rest)) == as_lists(read(tmp_path, table_of(ROWS)))
    numbers = table_of({7: (["a"], [1.0])}, id_type=pa.int64())
    lonely = Positives(np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32))
    assert as_lists(read(tmp_path, numbers, query_ids=["7"], positives=lonely)) == [{0: 1.0}]


def test_an_empty_shortlist_stays_empty(tmp_path):
    assert as_lists(read(tmp_path, table_of({**ROWS, "q2": ([], [])})))[1] == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"q1": None}, "1 query has no answer of the teacher .null.: 'q1'"),
        ({"q2": (["d", "zebra"], [1, 2])}, "1 query has labels that this data set has not, such as 'zebra': 'q2'"),
        ({"q2": (["d", None], [1, 2])}, "such as None: 'q2'"),
        ({"q2": (["d"], [1, 2])}, "not one score for each label of their shortlist: 'q2'"),
        ({"q3": (["d"], [np.nan])}, "1 query has scores that are not finite numbers: 'q3'"),
        ({"q3": (["d"], [np.inf])}, "scores that are not finite numbers: 'q3'"),
        ({"q1": (["d", "d"], [1, 2])}, "1 query has a label twice on their shortlist: 'q1'"),
    ],
)
def test_what_is_wrong_is_named_by_query(tmp_path, change, said):
    with pytest.raises(DataError, match=said):
        read(tmp_path, table_of({**ROWS, **change}))


def test_missing_and_repeated_queries_and_other_tables(tmp_path):
    with pytest.raises(DataError, match="1 query is not in the teacher's table: 'q2'") as refused:
        read(tmp_path, table_of({name: ROWS[name] for name in ("q1", "q3")}))
    assert "xmc teach" in refused.value.hint
    with pytest.raises(DataError, match="query 'q1' stands in the teacher's table more than once"):
        read(tmp_path, table_of(ROWS), table_of({"q1": ROWS["q1"]}))
    with pytest.raises(DataError, match="no column named 'scores'"):
        read(tmp_path, table_of(ROWS).drop_columns(["scores"]))
