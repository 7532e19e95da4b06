"""Invariants of the ragged values: `take` is the loop over rows; iterating gives each query its own hits."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.values import Hit, Hits, Positives, RunInfo

ragged = st.lists(st.lists(st.integers(0, 9), max_size=4, unique=True), max_size=6)


def to_positives(rows):
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    flat = np.array([label for row in rows for label in row], dtype=np.int32)
    return Positives(offsets, flat, np.arange(1, len(flat) + 1, dtype=np.float32))


def to_lists(positives):
    return [
        list(zip(positives.label_rows[a:b].tolist(), positives.weights[a:b].tolist(), strict=True))
        for a, b in zip(positives.offsets[:-1], positives.offsets[1:], strict=True)
    ]


@given(ragged)
def test_counts_and_query_rows_are_those_of_the_loop(rows):
    positives = to_positives(rows)
    assert len(positives) == len(rows)
    assert positives.counts().tolist() == [len(row) for row in rows]
    assert positives.query_rows().tolist() == [query for query, row in enumerate(rows) for _ in row]
    hits = Hits(positives.offsets, positives.label_rows.astype(np.int64), positives.weights)
    keys = [10 * query + label for query, row in enumerate(rows) for label in row]
    assert positives.pair_keys(10).tolist() == hits.pair_keys(10).tolist() == keys


@given(ragged, st.data())
def test_take_is_the_loop_over_rows(rows, data):
    positives = to_positives(rows)
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    taken = positives.take(np.array(wanted, dtype=np.int64))
    assert to_lists(taken) == [to_lists(positives)[row] for row in wanted]
    assert taken.offsets.dtype == np.int64 and taken.label_rows.dtype == np.int32


@given(ragged)
def test_hits_are_iterated_query_by_query(rows):
    positives = to_positives(rows)
    hits = Hits(positives.offsets, positives.label_rows.astype(np.int64), -positives.weights)
    assert len(hits) == len(rows)
    got = [(labels.tolist(), scores.tolist()) for labels, scores in hits]
    assert got == [([label for label, _ in row], [-weight for _, weight in row]) for row in to_lists(positives)]


def test_values_are_frozen():
    positives = to_positives([[1]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        positives.weights = None
    with pytest.raises(AttributeError):
        Hit(1, "a", "text", 0.5).rank = 2
    assert RunInfo("a", {}).queries == 0
