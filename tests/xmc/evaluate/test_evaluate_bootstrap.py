"""Intervals: equal a loop over drawn queries, hold the figure, narrow with more queries, repeat with the seed."""

import numpy as np
import pytest

import xmc.evaluate.bootstrap as bootstrap
from xmc.evaluate.bootstrap import bootstrap_intervals
from xmc.evaluate.measurement import Measurement


def measurement(queries, seed=3):
    generator = np.random.default_rng(seed)
    numerators_QM = generator.random((queries, 2))
    denominators_QM = np.stack([np.ones(queries), 1 + generator.random(queries)], axis=1)
    return Measurement(("P@1", "PSP@1"), numerators_QM, denominators_QM)


def test_equal_a_loop_over_drawn_queries():
    case, samples = measurement(40), 200
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(samples):
        rows = generator.integers(40, size=40)
        drawn.append([case.numerators_QM[rows, m].sum() / case.denominators_QM[rows, m].sum() for m in range(2)])
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert bootstrap_intervals(case, samples=samples, seed=7) == pytest.approx(expected)


def test_differences_are_drawn_in_pairs():
    case, less, samples = measurement(40), measurement(40, seed=4), 200
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(samples):
        rows = generator.integers(40, size=40)
        both = [each.numerators_QM[rows].sum(0) / each.denominators_QM[rows].sum(0) for each in (case, less)]
        drawn.append(both[0] - both[1])
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert bootstrap_intervals(case, samples=samples, seed=7, less=less) == pytest.approx(expected)
    assert not bootstrap_intervals(case, samples=samples, seed=7, less=case).any()


def test_chunks_draw_the_same_queries_as_one_piece(monkeypatch):
    case = measurement(50)
    whole = bootstrap_intervals(case, samples=30, seed=1)
    monkeypatch.setattr(bootstrap, "_CHUNK_WEIGHTS", 120)
    assert bootstrap_intervals(case, samples=30, seed=1) == pytest.approx(whole)


def test_the_interval_is_that_of_the_normal_theory_for_a_mean():
    case = measurement(4000)
    low, high = bootstrap_intervals(case, samples=2000, seed=0)[:, 0]
    half = 1.96 * case.numerators_QM[:, 0].std() / np.sqrt(4000)
    assert high - low == pytest.approx(2 * half, rel=0.1)
    assert low < case.values()[0] < high


def test_the_seed_decides_the_draws():
    case = measurement(60)
    first, again, other = (bootstrap_intervals(case, samples=50, seed=seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_one_query_has_no_spread():
    case = measurement(1)
    assert bootstrap_intervals(case, samples=5, seed=0) == pytest.approx(np.stack([case.values()] * 2))
