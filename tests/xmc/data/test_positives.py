"""Invariants: reading a list column gives what Python lists give, whatever its slices, chunks and offset width;
writing and reading is the identity; nothing out of range, null or weightless passes."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.data.positives import positives_from_arrow, positives_to_arrow
from xmc.errors import DataError
from xmc.values import Positives

LABELS = 12
IDS = pa.array([f"id{row}" for row in range(LABELS)], pa.large_string())
LISTS = st.lists(st.none() | st.lists(st.integers(0, LABELS - 1), max_size=5), max_size=8)


def read(column, relevance=None, queries=None):
    queries = len(column) if queries is None else queries
    names = [f"q{row}" for row in range(queries)]
    return positives_from_arrow(column, relevance, label_ids=IDS, query_ids=names, source="q.parquet")


def as_lists(positives):
    return [
        positives.label_rows[start:stop].tolist()
        for start, stop in zip(positives.offsets[:-1], positives.offsets[1:], strict=True)
    ]


@given(lists=LISTS, cut=st.integers(0, 8), large=st.booleans(), junk=st.integers(0, 3))
def test_slices_and_chunks_read_as_python_lists_do(lists, cut, large, junk):
    type_ = pa.large_list(pa.int32()) if large else pa.list_(pa.int64())
    padded = pa.array([[1, 1]] * junk + lists + [[2]] * junk, type_)
    whole = padded.slice(junk, len(lists))
    column = pa.chunked_array([whole.slice(0, cut), whole.slice(cut)], type=type_)
    expected, merged = [], 0
    for entry in lists:
        expected.append(sorted(set(entry or [])))
        merged += len(entry or []) - len(expected[-1])
    for form in (whole, column):
        positives, got_merged = read(form)
        assert as_lists(positives) == expected
        assert got_merged == merged
        assert positives.offsets.dtype == np.int64
        assert positives.label_rows.dtype == np.int32


@given(lists=LISTS, data=st.data())
def test_round_trip_with_weights(lists, data):
    weight = st.floats(0.25, 8, width=32)
    rows = [sorted(set(entry or [])) for entry in lists]
    weights = [[data.draw(weight) for _ in entry] for entry in rows]
    positives = Positives(
        np.cumsum([0] + [len(entry) for entry in rows], dtype=np.int64),
        np.array([row for entry in rows for row in entry], dtype=np.int32),
        np.array([number for entry in weights for number in entry], dtype=np.float32),
    )
    column, relevance = positives_to_arrow(positives)
    assert column.to_pylist() == rows
    assert (relevance is None) == all(number == 1 for entry in weights for number in entry)
    back, merged = read(column, relevance)
    assert merged == 0
    assert as_lists(back) == rows
    np.testing.assert_array_equal(back.weights, positives.weights)


def test_writing_copies_nothing():
    positives = Positives(np.array([0, 2], np.int64), np.array([3, 4], np.int32), np.ones(2, np.float32))
    column, _ = positives_to_arrow(positives)
    assert column.values.buffers()[1].address == positives.label_rows.ctypes.data


@pytest.mark.parametrize("dictionary", [False, True])
def test_label_ids_become_label_rows(dictionary):
    values = pa.array(["id3", "id0", "id3"])
    column = pa.ListArray.from_arrays([0, 2, 2, 3], values.dictionary_encode() if dictionary else values)
    positives, _ = read(column)
    assert as_lists(positives) == [[0, 3], [], [3]]


def test_unknown_label_ids_are_named_and_counted():
    column = pa.array([["id1"], ["nope", "id2"], ["gone"]])
    with pytest.raises(DataError, match=r"q\.parquet: unknown label ids, 2 in all; query 'q1' \(row 1\): 'nope', 'q2'"):
        read(column)


@pytest.mark.parametrize("bad", [-1, LABELS, 2**40])
def test_label_row_out_of_range_is_refused(bad):
    column = pa.array([[0], [1, bad]], pa.list_(pa.int64()))
    with pytest.raises(DataError, match=rf"label rows outside 0\.\.11, 1 in all; query 'q1' \(row 1\): {bad}"):
        read(column)


def test_null_element_is_refused():
    with pytest.raises(DataError, match=r"a null among its positives, 1 in all; query 'q2' \(row 2\)"):
        read(pa.array([[0], None, [1, None]], pa.list_(pa.int32())))


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), None])
def test_relevance_must_be_finite_and_positive(bad):
    column, relevance = pa.array([[0, 1], [2]]), pa.array([[1.0, 0.5], [bad]], pa.list_(pa.float64()))
    with pytest.raises(DataError, match=r"relevance that is not a finite number > 0, 1 in all; query 'q1'"):
        read(column, relevance)


def test_relevance_too_large_for_float32_is_refused():
    with pytest.raises(DataError, match="not a finite number"):
        read(pa.array([[0]]), pa.array([[1e300]]))


def test_relevance_of_other_length_is_refused():
    with pytest.raises(DataError, match=r"query 'q1' \(row 1\) has 1 positive and 2 relevance values"):
        read(pa.array([[0], [2]]), pa.array([[1.0], [1.0, 2.0]]))


def test_of_duplicates_the_larger_weight_stays():
    positives, merged = read(pa.array([[5, 1, 5], [5]]), pa.array([[0.5, 2.0, 3.0], [7.0]]))
    assert merged == 1
    assert as_lists(positives) == [[1, 5], [5]]
    assert positives.weights.tolist() == [2.0, 3.0, 7.0]


def test_only_the_first_few_are_named():
    column = pa.array([[LABELS]] * 9)
    with pytest.raises(DataError, match=r"9 in all; .*\(row 4\): 12 and 4 more\.") as caught:
        read(column)
    assert "row 5" not in str(caught.value)


def test_no_queries():
    positives, merged = read(pa.chunked_array([], type=pa.large_list(pa.int32())))
    assert (len(positives), merged, positives.offsets.tolist()) == (0, 0, [0])
