"""Invariants: bags partition the queries; without noise the mean of the labels; noise on every label; what is released
under two labels of one query differs by no more than exp(epsilon); a query counts `clip` labels."""

import math
from fractions import Fraction

import numpy as np
import pytest

from xmc.data.dataset import load_dataset
from xmc.data.tables import QueryTable
from xmc.privacy.bag_release import Mechanism
from xmc.values import Positives

TINY = load_dataset("tiny")
SILENT = Fraction(1000)  # a scale of 1 / 500: every draw is 0


def table(label_lists):
    counts = [len(each) for each in label_lists]
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    label_rows = np.array([row for each in label_lists for row in each], np.int32)
    names = [f"q{number}" for number in range(len(label_lists))]
    return QueryTable(names, names, Positives(offsets, label_rows, np.ones(len(label_rows), np.float32)))


def dense(queries, labels):
    found = np.zeros((len(queries), labels))
    found[queries.positives.query_rows(), queries.positives.label_rows] = queries.positives.weights
    return found


def test_without_noise_each_row_has_the_mean_of_its_bag():
    clip = int(TINY.train.positives.counts().max())
    released = Mechanism(SILENT, 7, clip=clip).release(TINY.train, len(TINY.labels))
    assert released.ids == TINY.train.ids and released.texts == TINY.train.texts
    own_QL, found_QL, bag_ids = dense(TINY.train, 60) > 0, dense(released, 60), np.array(released.bag_ids)
    _, sizes = np.unique(bag_ids, return_counts=True)
    assert sorted(sizes) == [1, *[7] * 57]  # 400 queries
    for bag in set(bag_ids):
        mean_L = own_QL[bag_ids == bag].mean(axis=0)
        np.testing.assert_allclose(found_QL[bag_ids == bag], np.tile(mean_L, ((bag_ids == bag).sum(), 1)), rtol=1e-6)


def test_bags_are_drawn_anew():
    first, second = (Mechanism(SILENT, 4).release(TINY.train, 60).bag_ids for _ in range(2))
    assert first != second


@pytest.mark.parametrize("clip", [1, 2])
def test_a_query_counts_so_many_of_its_labels_each_as_often(clip):
    queries = table([[1, 4, 7]] * 3000)
    found_QL = dense(Mechanism(SILENT, 1, clip=clip).release(queries, 9), 9)
    assert (found_QL.sum(axis=1) == clip).all()
    assert found_QL.mean(axis=0)[[1, 4, 7]] == pytest.approx(clip / 3, abs=0.04)


def test_noise_is_on_labels_that_do_not_occur_and_small_counts_are_left_out():
    queries, labels = table([[0]] * 2000), 10
    found_QL = dense(Mechanism(Fraction(1), 1).release(queries, labels), labels)
    ratio = math.exp(-1 / 2)
    assert (found_QL[:, 1:] > 0).mean() == pytest.approx(ratio / (1 + ratio), abs=0.02)
    assert (found_QL[:, 0] > 0).mean() == pytest.approx(1 / (1 + ratio), abs=0.04)
    kept_QL = dense(Mechanism(Fraction(1), 1, threshold=3).release(queries, labels), labels)
    assert set(np.unique(kept_QL)) & {1.0, 2.0, 3.0} == set() and (kept_QL >= 4).any()


def test_what_is_seen_of_two_neighbours_differs_by_exp_epsilon_at_most():
    """30,000 bags of one query as as many releases: whoever knows the outputs' law can tell the labels no better."""
    epsilon, count = Fraction(1), 30_000
    seen = [dense(Mechanism(epsilon, 1).release(table([[label]] * count), 2), 2) for label in (0, 1)]
    counted = [np.bincount((each.clip(max=5) @ [6, 1]).astype(int), minlength=36) for each in seen]
    often = np.minimum(*counted) > 200
    ratios = counted[0][often] / counted[1][often]
    assert often.sum() > 20
    assert max(ratios.max(), 1 / ratios.min()) < math.exp(1) * 1.25
    assert max(ratios.max(), 1 / ratios.min()) > math.exp(1) * 0.8  # nor is there more noise than is needed


def test_blocks_of_bags_are_the_whole(monkeypatch):
    monkeypatch.setattr("xmc.privacy.bag_release.COUNTS_AT_ONCE", 150)
    released = Mechanism(SILENT, 5, clip=9).release(TINY.train, 60)
    assert dense(released, 60).sum() == pytest.approx((dense(TINY.train, 60) > 0).sum())
