"""Invariants: a label's vector is the mean of its text and its training queries at the chosen weight, as by a loop;
the weight is the one with the best nDCG at 5, 0 unless another one is better."""

import numpy as np
import pytest
import torch

from xmc.engine.label_moves import GRID, LabelOptions, choose_query_weight, movable_labels
from xmc.values import Positives

GENERATOR = np.random.default_rng(0)
LABELS, QUERIES, D = 7, 20, 4
TEXTS_LD = torch.from_numpy(GENERATOR.normal(size=(LABELS, D)).astype(np.float32))
QUERIES_QD = torch.from_numpy(GENERATOR.normal(size=(QUERIES, D)).astype(np.float32))
COUNTS = GENERATOR.integers(0, 4, QUERIES)
ROWS = np.concatenate([GENERATOR.choice(LABELS - 1, count, replace=False) for count in COUNTS]).astype(np.int32)
WEIGHTS = GENERATOR.uniform(0.5, 2.0, len(ROWS)).astype(np.float32)
POSITIVES = Positives(np.concatenate([[0], np.cumsum(COUNTS)]), ROWS, WEIGHTS)


def unit(rows_ND):
    return rows_ND / rows_ND.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("query_weight", [0.0, 0.25, 3.0])
def test_the_mean_of_text_and_queries_is_the_loop(similarity, query_weight):
    labels = movable_labels(TEXTS_LD, QUERIES_QD.split(6), POSITIVES, similarity=similarity)
    moved_LD = labels.moved(query_weight)
    for label in range(LABELS):
        total, share = TEXTS_LD[label].clone(), 1.0
        for query in range(QUERIES):
            for place in range(POSITIVES.offsets[query], POSITIVES.offsets[query + 1]):
                if ROWS[place] == label:
                    total += query_weight * float(WEIGHTS[place]) * QUERIES_QD[query]
                    share += query_weight * float(WEIGHTS[place])
        wanted = unit(total) if similarity == "cosine" else total / share
        torch.testing.assert_close(moved_LD[label], wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(labels.moved(0.25, slice(2, 5)), labels.moved(0.25)[2:5])
    assert not (POSITIVES.label_rows == LABELS - 1).any()  # the last label has no query and stays
    torch.testing.assert_close(moved_LD[-1], unit(TEXTS_LD[-1]) if similarity == "cosine" else TEXTS_LD[-1])


def one_each(rows):
    return Positives(np.arange(len(rows) + 1), np.array(rows, np.int32), np.ones(len(rows), np.float32))


def test_queries_that_lie_apart_from_their_labels_texts_draw_them():
    axes_LD = torch.eye(8)
    away_LD = torch.roll(axes_LD, 4, 0)  # all queries of a label lie where another one's text is
    labels = movable_labels(axes_LD, [away_LD.repeat(3, 1)], one_each([*range(8)] * 3), similarity="cosine")
    weight, ndcg_of = choose_query_weight(labels, away_LD, one_each(range(8)))
    assert set(ndcg_of) == set(GRID) and ndcg_of[weight] == max(ndcg_of.values()) == 1 and ndcg_of[0.0] < 1
    assert weight > 1 / 3  # below it the text is more than its three queries together


def test_texts_that_say_all_stay_where_they_are():
    axes_LD = torch.eye(8)
    labels = movable_labels(axes_LD, [axes_LD], one_each(range(8)), similarity="cosine")
    assert choose_query_weight(labels, axes_LD, one_each(range(8)))[0] == 0


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf"), "much"])
def test_wrong_options(value):
    with pytest.raises(ValueError, match="query_weight must be a"):
        LabelOptions(query_weight=value)
