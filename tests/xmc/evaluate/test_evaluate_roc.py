"""Invariants: each point is the rates at its cut-off; the curve rises from (0, 0) to (1, 1); with all points its area
is the AUC and with few nearly so; table and picture hold it."""

import csv
import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.evaluate.auc import PooledAuc, roc_auc
from xmc.evaluate.roc import COLUMNS, roc_curve, write_roc_picture, write_roc_table

some_scores = st.lists(st.sampled_from([-3.0, -0.5, 0.0, 0.25, 1.0, 8.0]), min_size=1, max_size=30)


def area_under(curve):
    heights = (curve.true_positive_rates_T[1:] + curve.true_positive_rates_T[:-1]) / 2
    return float((np.diff(curve.false_positive_rates_T) * heights).sum())


@given(some_scores, some_scores, st.integers(1, 40))
def test_each_point_is_the_rates_at_its_cut_off_and_the_curve_rises(positives, negatives, steps):
    curve = roc_curve(np.array(positives), np.array(negatives), steps=steps)
    points = list(zip(curve.scores_T, curve.false_positive_rates_T, curve.true_positive_rates_T, strict=True))
    for cut_off, false_rate, true_rate in points:
        assert false_rate == pytest.approx(sum(score >= cut_off for score in negatives) / len(negatives))
        assert true_rate == pytest.approx(sum(score >= cut_off for score in positives) / len(positives))
    assert points[0] == (np.inf, 0, 0) and points[-1][1:] == (1, 1)
    assert all(a > b for (a, *_), (b, *_) in pairwise(points))


@given(some_scores, some_scores)
def test_the_area_under_all_points_is_the_auc(positives, negatives):
    curve = roc_curve(np.array(positives), np.array(negatives))
    area = area_under(curve)
    assert area == pytest.approx(roc_auc(np.array(positives), np.array(negatives)))


def test_many_scores_are_thinned_to_few_points_of_nearly_the_same_area():
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(1, 1, 5000), generator.normal(0, 1, 40_000)
    curve = roc_curve(positives, negatives, steps=100)
    assert len(curve.scores_T) <= 203
    area = area_under(curve)
    assert area == pytest.approx(roc_auc(positives, negatives), abs=0.01)
    assert np.diff(curve.false_positive_rates_T).max() < 0.0101 and np.diff(curve.true_positive_rates_T).max() < 0.0101


def test_the_table_reads_back_as_it_was_and_the_picture_is_a_png(tmp_path):
    positives, negatives = np.array([0.9, 1 / 3], dtype=np.float32), np.array([0.5, 0.1], dtype=np.float32)
    curve = roc_curve(positives, negatives)
    write_roc_table(tmp_path / "roc.csv", curve)
    with (tmp_path / "roc.csv").open(newline="") as file:
        rows = [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)]
    columns = (curve.scores_T, curve.false_positive_rates_T, curve.true_positive_rates_T)
    assert rows == [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    write_roc_picture(tmp_path / "roc.png", curve, PooledAuc(0.75, 500, 2, 2, 2, 2))
    data = (tmp_path / "roc.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and min(struct.unpack(">II", data[16:24])) > 300
