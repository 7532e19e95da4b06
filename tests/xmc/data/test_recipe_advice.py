"""Invariants: bags first, then long texts of labels that are seen, passages, labels seen often; else nothing."""

from dataclasses import replace

import numpy as np
import pytest

from xmc.data.recipe_advice import LONG_LABELS, MANY_WORDS, OFTEN, recipe_advice
from xmc.data.tables import QueryTable
from xmc.values import Positives

SHORT = ["three short words"] * 3


def queries_of(label_rows, *, words=3, labels=1):
    """Queries of so many words, each with the next so many of these label rows."""
    count = len(label_rows) // labels
    offsets = np.arange(count + 1) * labels
    positives = Positives(offsets, np.array(label_rows, np.int64), np.ones(len(label_rows), np.float32))
    return QueryTable([f"q{row}" for row in range(count)], ["word " * words] * count, positives)


@pytest.mark.parametrize(
    ("queries", "recipe"),
    [
        (queries_of([0, 1] * 5, words=MANY_WORDS, labels=2), "linear.fused"),
        (queries_of([0, 1] * 5, words=MANY_WORDS - 1, labels=2), None),
        (queries_of([*range(9), 0], words=MANY_WORDS), None),
        (queries_of([0] * 7 + [1], words=MANY_WORDS), "linear.fused"),
        (queries_of([0] * 6 + [1], words=MANY_WORDS), None),
        (queries_of([0] * OFTEN + list(range(1, 2 * OFTEN + 1))), "dexml.frequent"),
        (queries_of([0] * OFTEN + list(range(1, 2 * OFTEN + 2))), None),
        (queries_of([0] * (OFTEN - 1)), None),
        (queries_of([0] * OFTEN + [1, 2], words=MANY_WORDS), "dexml.frequent"),
        (queries_of([]), None),
    ],
)
def test_which_recipe_suits(queries, recipe):
    advice = recipe_advice(queries, SHORT)
    assert (advice and advice.recipe) == recipe
    if advice:
        assert f"--plugin {recipe} " in advice.reason
    assert recipe_advice(replace(queries, bag_ids=["b"] * len(queries)), SHORT).recipe == "aggregate"


def test_the_share_of_labels_seen_often_is_told():
    advice = recipe_advice(queries_of([0] * OFTEN + [1] * OFTEN + list(range(2, OFTEN + 2))), SHORT)
    assert advice.reason.startswith("labels that have 10 training queries and more (67 % of all answers) are")


@pytest.mark.parametrize(("words", "recipe"), [(LONG_LABELS, "dexml.passages"), (LONG_LABELS - 1, "dexml.frequent")])
def test_labels_that_are_passages(words, recipe):
    label_texts = ["word " * words] * 2 + ["short"]
    assert recipe_advice(queries_of([0] * OFTEN), label_texts).recipe == recipe
    long_queries = queries_of([0, 1] * 5, words=MANY_WORDS, labels=2)
    assert recipe_advice(long_queries, label_texts).recipe == "linear.fused"
