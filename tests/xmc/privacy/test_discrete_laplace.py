"""Invariants: each step draws its exact law (chi-square at fixed bits); bits beyond a multiple are refused; the ratio
of two shifted laws is exp(epsilon) and no more, twice of it with half the scale."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from xmc.privacy.discrete_laplace import bernoulli_exp, discrete_laplace, secure_words, uniform_below


def words_of(seed):
    rng = np.random.default_rng(seed)
    return lambda count: rng.integers(0, 2**64, count, dtype=np.uint64)


def probability(x, scale):
    """Of the whole number x: (1 − q) / (1 + q) · q^|x| with q = exp(−1 / scale)."""
    ratio = math.exp(-1 / scale)
    return (1 - ratio) / (1 + ratio) * ratio ** abs(x)


@pytest.mark.parametrize("scale", [Fraction(2), Fraction(1, 2), Fraction(7, 3), Fraction(10), Fraction(3, 7)])
def test_the_law_is_that_of_the_formula(scale):
    count = 60_000
    drawn = discrete_laplace(scale, count, words=words_of(5))
    assert drawn.dtype == np.int64 and drawn.shape == (count,)
    edge = math.ceil(4 * scale)
    expected = [probability(x, scale) for x in range(-edge, edge + 1)]
    observed = [(drawn == x).sum() for x in range(-edge, edge + 1)]
    outside = 1 - sum(expected)
    assert 0 < outside < 0.2
    p_value = stats.chisquare([*observed, (abs(drawn) > edge).sum()], count * np.array([*expected, outside])).pvalue
    assert p_value > 0.001


def test_a_test_of_the_law_can_fail():
    drawn = discrete_laplace(Fraction(2), 60_000, words=words_of(5))
    expected = np.array([probability(x, 2.1) for x in range(-8, 9)])
    observed = [(drawn == x).sum() for x in range(-8, 9)]
    assert stats.chisquare(observed, sum(observed) * expected / expected.sum()).pvalue < 1e-3


def test_coins_of_probability_exp():
    for numerator in (0, 1, 3, 5):
        falls = bernoulli_exp(np.full(40_000, numerator), 5, words_of(1))
        assert abs(falls.mean() - math.exp(-numerator / 5)) < 4 * 0.5 / math.sqrt(40_000)
    assert bernoulli_exp(np.zeros(100, np.int64), 5).all()


def test_numbers_below_a_bound_are_equally_likely_and_words_above_a_multiple_are_drawn_again():
    assert np.bincount(uniform_below(3, 30_000, words_of(2)), minlength=3) == pytest.approx(10_000, rel=0.03)
    given = iter([np.array([2**64 - 1, 5], np.uint64), np.array([2**64 - 1], np.uint64), np.array([7], np.uint64)])
    assert uniform_below(3, 2, lambda count: next(given)).tolist() == [1, 2]  # 2^64 − 1 is a multiple of 3
    given = iter([np.array([2**64 - 1, 2**64 - 2], np.uint64)])
    assert uniform_below(2, 2, lambda count: next(given)).tolist() == [1, 0]


def test_bits_are_those_of_the_system():
    first, second = secure_words(4), secure_words(4)
    assert len(set(first.tolist() + second.tolist())) == 8
    assert discrete_laplace(Fraction(2), 0).tolist() == []
    assert len(discrete_laplace(Fraction(1, 1000), 5)) == 5


@pytest.mark.parametrize(("clip", "epsilon"), [(1, Fraction(1)), (1, Fraction(1, 3)), (4, Fraction(5, 2))])
def test_worst_ratio_of_two_outputs_is_epsilon_and_half_the_scale_gives_twice(clip, epsilon):
    """To replace a query's labels moves counts by 2 · clip in all: one count by that much, or that many by one."""
    scale, moved = 2 * clip / epsilon, 2 * clip
    for used, expected in ((scale, epsilon), (scale / 2, 2 * epsilon)):
        logs = [math.log(probability(x, used)) - math.log(probability(x - moved, used)) for x in range(-40, 41)]
        assert max(map(abs, logs)) == pytest.approx(float(expected), rel=1e-9)
        one = [math.log(probability(x, used)) - math.log(probability(x - 1, used)) for x in range(-40, 41)]
        assert moved * max(map(abs, one)) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("scale", [Fraction(0), Fraction(-1), Fraction(2**33), Fraction(1, 2**33)])
def test_a_scale_that_cannot_be_drawn_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be a fraction"):
        discrete_laplace(scale, 1)
