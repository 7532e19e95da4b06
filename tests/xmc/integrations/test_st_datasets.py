"""Invariants: a row names all positives of its query, whatever form they came in; bad input says what and where."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from st_models import TINY

from xmc.errors import ConfigError, DataError
from xmc.integrations.datasets import pair_dataset, query_dataset

QUERIES = ["a", "b", "c"]
LABELS = ["zero", "one", "two", "three"]


def positives_of(dataset, query):
    return TINY.train.positives.take([query]).label_rows.tolist()


def test_rows_of_the_tables():
    dataset = query_dataset(TINY.train.texts, TINY.train.positives)
    assert dataset.column_names == ["query", "label"] and len(dataset) == len(TINY.train)
    width = TINY.train.positives.counts().max()
    for query, row in enumerate(dataset):
        rows = positives_of(dataset, query)
        assert row == {"query": TINY.train.texts[query], "label": rows + [-1] * (width - len(rows))}


def test_a_row_for_each_pair():
    dataset = pair_dataset(TINY.train.texts, TINY.train.positives, TINY.labels.texts)
    assert dataset.column_names == ["query", "positive", "label"]
    expected = [(q, row) for q in range(len(TINY.train)) for row in positives_of(dataset, q)]
    assert len(dataset) == len(expected)
    for (query, label_row), row in zip(expected, dataset, strict=True):
        assert (row["query"], row["positive"]) == (TINY.train.texts[query], TINY.labels.texts[label_row])
        assert row["label"][0] == label_row
        assert [other for other in row["label"][1:] if other != -1] == positives_of(dataset, query)


def test_lists_and_queries_without_positives():
    lists = [[3], [], [0, 2]]
    assert query_dataset(QUERIES, lists)[:] == {"query": ["a", "c"], "label": [[3, -1], [0, 2]]}
    pairs = pair_dataset(QUERIES, lists, LABELS)[:]
    assert pairs["query"] == ["a", "c", "c"] and pairs["positive"] == ["three", "zero", "two"]
    assert pairs["label"] == [[3, 3, -1], [0, 0, 2], [2, 0, 2]]


def test_hard_negatives_are_named_in_the_order_of_their_columns():
    dataset = pair_dataset(QUERIES, [[3], [], [0, 2]], LABELS, negatives=[[1, 0], [2, 2], [3, 1]])
    assert dataset.column_names == ["query", "positive", "negative_1", "negative_2", "label"]
    assert dataset[2] == {
        "query": "c",
        "positive": "two",
        "negative_1": "three",
        "negative_2": "one",
        "label": [2, 3, 1, 0, 2],
    }


@pytest.mark.parametrize(
    ("positives", "said"),
    [
        ([[0], [1]], "3 queries and 2 lists"),
        ([[], [], []], "nothing to train on"),
        ([[0], [-1], [1]], "label row -1"),
        ([[0], [4], [1]], r"label row 4 \(1 such in all\), label rows are 0\.\.3"),
        ([[0], [1.5], [2]], r"positives hold 1.5, .* whole numbers. The row of a label is its place"),
        ([[0], ["two"], [2]], "positives hold 'two'"),
        ([0, 1, 2], "positives must be a list of label rows for each query, got 0 for one"),
        (["0", "1", "2"], "positives must be a list of label rows for each query, got '0' for one"),
    ],
)
def test_bad_positives(positives, said):
    with pytest.raises(DataError, match=said):
        pair_dataset(QUERIES, positives, LABELS)


@pytest.mark.parametrize(
    ("negatives", "said"),
    [
        ([[0]], "3 lists of one length, got 1 list"),
        ([[0], [1, 2], [3]], r"got 3 lists with lengths \[1, 2\]"),
        ([[0], [1], [7]], "negatives hold the label row 7"),
        ([[0], [1.0], [2]], "negatives hold 1.0"),
    ],
)
def test_bad_negatives(negatives, said):
    with pytest.raises(DataError, match=said):
        pair_dataset(QUERIES, [[0], [1], [2]], LABELS, negatives=negatives)


def test_weights_would_be_lost_and_are_refused():
    weighted = replace(TINY.train.positives, weights=np.full_like(TINY.train.positives.weights, 0.5))
    with pytest.raises(DataError, match=r"weights other than 1.*Drop them"):
        query_dataset(TINY.train.texts, weighted)


def test_without_the_package_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"not installed. pip install 'xmc-engine\[train\]'"):
        query_dataset(["a"], [[0]])
