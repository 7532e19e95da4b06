"""Invariants: columns are the right labels; every known positive is marked; no label stands twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xmc.api import Positives
from xmc.train.label_scope import all_labels, sampled_labels

LABELS = 12
positives_of_queries = st.lists(st.sets(st.integers(0, LABELS - 1), max_size=5), min_size=1, max_size=6)


def to_positives(sets):
    rows = [sorted(labels) for labels in sets]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    flat = np.array([label for row in rows for label in row], dtype=np.int32)
    return Positives(offsets, flat, np.arange(1, len(flat) + 1, dtype=np.float32))


def marked(scope):
    """{(query, label row): weight}."""
    columns = scope.pairs.columns_P.numpy()
    labels = columns if scope.label_rows is None else scope.label_rows[columns]
    return dict(
        zip(zip(scope.pairs.rows_P.tolist(), labels.tolist(), strict=True), scope.pairs.weights_P.tolist(), strict=True)
    )


def truth(sets, positives):
    pairs = [(query, label) for query, labels in enumerate(sets) for label in sorted(labels)]
    return dict(zip(pairs, positives.weights.tolist(), strict=True))


@given(positives_of_queries)
def test_all_labels_are_their_own_columns(sets):
    positives = to_positives(sets)
    scope = all_labels(positives)
    assert scope.label_rows is None and marked(scope) == truth(sets, positives)


@given(positives_of_queries, st.integers(1, 40), st.integers(0, 100))
def test_sampled_labels_hold_every_positive_and_nothing_twice(sets, sample, seed):
    positives = to_positives(sets)
    scope = sampled_labels(positives, labels=LABELS, sample=sample, generator=np.random.default_rng(seed))
    rows = scope.label_rows.tolist()
    assert rows == sorted(set(rows)) and set(rows) <= set(range(LABELS))
    assert set().union(*sets) <= set(rows)
    assert len(rows) <= len(set().union(*sets)) + min(sample, LABELS)
    assert marked(scope) == truth(sets, positives)
    columns, queries = scope.pairs.columns_P.tolist(), scope.pairs.rows_P.tolist()
    in_order = list(zip(queries, columns, strict=True))
    assert in_order == sorted(in_order), "LossInputs wants pairs sorted by row, then column"


def test_the_sample_is_that_of_the_generator_and_covers_all_labels_in_time():
    positives = to_positives([{3}])
    draws = [
        tuple(sampled_labels(positives, labels=LABELS, sample=4, generator=np.random.default_rng(seed)).label_rows)
        for seed in (1, 1, *range(2, 40))
    ]
    assert draws[0] == draws[1] and len(set(draws)) > 10
    assert {label for draw in draws for label in draw} == set(range(LABELS))
