"""Invariants: equal values have equal hashes whatever their chunks and slices; another value has another hash."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.data.column_hash import column_sha256

TEXTS = st.lists(st.none() | st.text(max_size=4), max_size=6)


@given(values=TEXTS, cut=st.integers(0, 6))
def test_chunks_and_slices_leave_no_trace(values, cut):
    plain = pa.array(values, pa.large_string())
    padded = pa.array(["x", *values, None], pa.large_string()).slice(1, len(values))
    parts = pa.chunked_array([padded.slice(0, cut), padded.slice(cut)], type=pa.large_string())
    assert column_sha256(plain) == column_sha256(parts) == column_sha256(pa.array(values, pa.string()))
    assert column_sha256(plain.dictionary_encode()) == column_sha256(plain)


@given(one=TEXTS, other=TEXTS)
def test_strings_differ_when_they_differ(one, other):
    same = column_sha256(pa.array(one, pa.string())) == column_sha256(pa.array(other, pa.string()))
    assert same == (one == other)


@given(
    one=st.lists(st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3), max_size=4),
    other=st.lists(st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3), max_size=4),
)
def test_lists_differ_when_they_differ(one, other):
    type_ = pa.large_list(pa.int32())
    assert (column_sha256(pa.array(one, type_)) == column_sha256(pa.array(other, type_))) == (one == other)


def test_lists_in_chunks():
    type_ = pa.list_(pa.float32())
    whole = pa.array([[0.5], [], [1.5, 2.5], None], type_)
    assert column_sha256(whole) == column_sha256(pa.chunked_array([whole.slice(0, 1), whole.slice(1)]))


@pytest.mark.parametrize("dtype", [pa.float32(), pa.float16()])
def test_embeddings(dtype):
    values = np.arange(6).astype(dtype.to_pandas_dtype())
    column = pa.FixedSizeListArray.from_arrays(pa.array(values, dtype), 2)
    assert column_sha256(column) == column_sha256(pa.chunked_array([column.slice(0, 2), column.slice(2)]))
    values = values + np.eye(6, dtype=values.dtype)[3]
    assert column_sha256(column) != column_sha256(pa.FixedSizeListArray.from_arrays(pa.array(values, dtype), 2))


def test_type_is_part_of_the_hash():
    assert column_sha256(pa.array([1], pa.int32())) != column_sha256(pa.array([1], pa.int64()))
