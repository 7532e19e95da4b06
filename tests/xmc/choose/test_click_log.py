"""Invariants: a log comes back as it was, whatever the order of its candidates; what is wrong in it is named by row."""

import numpy as np
import pyarrow as pa
import pytest

from xmc.choose.log import log_of, log_table, read_log
from xmc.data.shards import write_table
from xmc.errors import DataError, NonFiniteError

GOOD = {
    "query_id": ["q0", "q1", "q0"],
    "text": ["one", "two", "one"],
    "candidates": [["b", "a", "c"], ["c", "d"], ["a", "b"]],
    "label_ids": [["c", "b"], ["d"], ["b", "a"]],
    "propensities": [[0.5, 0.25], [1.0], [0.4, 1.0]],
    "rewards": [[0.0, 1.0], [1.0], [0.0, 0.0]],
}


def changed(column, row, value):
    columns = {name: list(values) for name, values in GOOD.items()}
    columns[column][row] = value
    return log_table(columns)


def test_a_log_is_read_as_it_was(tmp_path):
    write_table(tmp_path / "clicks.parquet", log_table(GOOD))
    log = read_log(tmp_path / "clicks.parquet")
    assert log.label_ids == ["a", "b", "c", "d"] and (len(log), log.ranks) == (3, 2)
    assert log.codes_N.tolist() == [0, 1, 2, 2, 3, 0, 1] and log.offsets.tolist() == [0, 3, 5, 7]
    assert log.shown_QK.tolist() == [[2, 1], [1, 0], [1, 0]]
    assert log.is_shown_QK.tolist() == [[True, True], [True, False], [True, True]]
    assert log.propensities_QK.tolist() == [[0.5, 0.25], [1, 1], [0.4, 1]]
    assert log.rewards_QK.tolist() == [[0, 1], [1, 0], [0, 0]] and log.rank_propensities_QK is None
    assert log.as_matrix(np.arange(7.0), fill=-1).tolist() == [[0, 1, 2], [3, 4, -1], [5, 6, -1]]


def test_other_types_slices_and_shards_are_read_alike(tmp_path):
    table = log_table(GOOD)
    (tmp_path / "log").mkdir()
    for number in range(3):
        write_table(tmp_path / "log" / f"part-{number}.parquet", table.slice(number, 1))
    types = {"rewards": pa.list_(pa.bool_()), "label_ids": pa.large_list(pa.large_string())}
    fields = [pa.field(field.name, types.get(field.name, field.type)) for field in table.schema]
    other = table.cast(pa.schema(fields))
    for log in (read_log(tmp_path / "log"), log_of(other), log_of(pa.concat_tables([table, table]).slice(3))):
        assert log.shown_QK.tolist() == [[2, 1], [1, 0], [1, 0]] and log.rewards_QK.tolist() == [[0, 1], [1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("column", "value", "message", "kind"),
    [
        ("propensities", [0.5, 0.0], r"0\.0 among propensities is not above 0 and at most 1, in row 2", DataError),
        ("propensities", [1.5, 0.5], r"1\.5 among propensities is not above 0 and at most 1, in row 2", DataError),
        ("propensities", [-0.1, 0.5], r"-0\.1 among propensities .* in row 2", DataError),
        ("propensities", [0.5, float("nan")], r"nan among propensities is no usable number, in row 2", NonFiniteError),
        ("propensities", [0.5, None], r"None stands among propensities of row 2", DataError),
        ("propensities", [0.5], r"1 row has not one of propensities for each of label_ids: row 2 \(", DataError),
        ("propensities", None, r"1 row has no propensities: row 2", DataError),
        ("rewards", [0.0, float("inf")], r"inf among rewards is no usable number, in row 2", NonFiniteError),
        ("rewards", [0.0], r"has not one of rewards for each of label_ids: row 2", DataError),
        ("label_ids", ["b", "x"], r"'x' is shown but is none of the candidates of row 2 \('q0'\)", DataError),
        ("label_ids", ["b", "c"], r"'c' is shown but is none of the candidates of row 2", DataError),
        ("label_ids", ["b", "b"], r"'b' is shown twice in row 2", DataError),
        ("label_ids", [], r"1 row shows no label: row 2", DataError),
        ("candidates", ["a", "b", "a"], r"'a' stands twice among the candidates of row 2", DataError),
        ("candidates", [], r"1 row has no candidates: row 2", DataError),
        ("candidates", ["a", None], r"None stands among candidates of row 2", DataError),
        ("text", " ", r"1 row has no text: row 2", DataError),
        ("query_id", "", r"1 row has no query_id: row 2", DataError),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(column, value, message, kind):
    with pytest.raises(kind, match=message):
        log_of(changed(column, 2, value))


def test_a_wrong_chance_at_a_rank_is_named():
    columns = {**GOOD, "rank_propensities": [[0.5, 0.5], [2.0], [0.5, 0.5]]}
    with pytest.raises(DataError, match=r"2\.0 among rank_propensities .* row 1 \('q1'\)"):
        log_of(log_table(columns))


def test_a_log_without_rows_or_columns():
    with pytest.raises(DataError, match="no rows"):
        log_of(log_table({name: [] for name in GOOD}))
    with pytest.raises(DataError, match="no column named 'propensities'"):
        log_of(log_table(GOOD).drop_columns(["propensities"]))
