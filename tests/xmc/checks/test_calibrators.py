"""Invariants: each method finds the probabilities that made the data; bands of ranks are fitted apart; too little data
is refused with what to do; nothing is ever 0 or 1 exactly."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from xmc.checks.calibrators import fit_calibration, fit_isotonic, fit_platt, fit_temperature, merge_bands, uncalibrated
from xmc.checks.pairs import Pairs
from xmc.errors import DataError


def sigma(values):
    return 1 / (1 + np.exp(-values))


def drawn(slope, intercept, count=40_000, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=count)
    return scores, generator.random(count) < sigma(slope * scores + intercept)


def pairs_of(scores_QK, relevant_QK):
    queries = len(scores_QK)
    query_rows, ranks = np.indices(scores_QK.shape).reshape(2, -1)
    return Pairs(queries, int(relevant_QK.sum()), query_rows, ranks, ranks + 1, scores_QK.ravel(), relevant_QK.ravel())


def test_platt_finds_the_slope_and_intercept_that_made_the_data():
    curve = fit_platt(*drawn(2.0, -1.0))
    assert curve.slope == pytest.approx(2.0, abs=0.08) and curve.intercept == pytest.approx(-1.0, abs=0.05)


def test_platt_is_the_maximum_of_the_likelihood_with_its_soft_targets():
    scores, relevant = drawn(1.5, 0.5, count=300)
    high, low = (relevant.sum() + 1) / (relevant.sum() + 2), 1 / ((~relevant).sum() + 2)
    targets = np.where(relevant, high, low)

    def loss(parameters):
        logits = parameters[0] * scores + parameters[1]
        return (np.logaddexp(0, logits) - targets * logits).sum()

    best = minimize(loss, [1.0, 0.0]).x
    curve = fit_platt(scores, relevant)
    assert [curve.slope, curve.intercept] == pytest.approx(best, abs=1e-3)


def test_platt_never_falls_with_the_score():
    scores = np.linspace(0, 1, 100)
    curve = fit_platt(scores, scores < 0.3)
    assert curve.slope == 0 and curve(np.array([0.0, 1.0])) == pytest.approx([0.31, 0.31], abs=0.02)


def test_platt_of_equal_scores_is_the_share():
    curve = fit_platt(np.full(100, 0.5), np.arange(100) < 30)
    assert curve(np.array([0.5])) == pytest.approx([0.31], abs=0.02)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_a_share_of_unanswerable_queries_has_no_positive_among_its_hits(method):
    """Of 1,000 first hits of one score 300 are relevant; half of the weight sees the other 700 alone."""
    relevant_Q1 = (np.arange(1000) < 300)[:, None]
    pairs = pairs_of(np.full((1000, 1), 0.5), relevant_Q1)
    for share, rate in ((0.0, 0.3), (0.5, 150 / (500 + 350))):
        calibration = fit_calibration(pairs, method=method, first_ranks=(1,), unanswerable=share)
        assert calibration.curves[0](np.array([0.5])) == pytest.approx([rate], abs=0.005)


def test_temperature_finds_the_one_that_made_the_data():
    scores, relevant = drawn(1 / 0.25, 0.0)
    assert 1 / fit_temperature(scores, relevant).slope == pytest.approx(0.25, rel=0.05)


def test_isotonic_is_that_of_scikit_learn_but_never_0_or_1():
    scores, relevant = drawn(2.0, -1.0, count=500)
    curve, oracle = fit_isotonic(scores, relevant), IsotonicRegression(out_of_bounds="clip").fit(scores, relevant)
    grid = np.linspace(-5, 5, 301)
    edge = 0.5 / 501
    assert curve(grid) == pytest.approx(np.clip(oracle.predict(grid), edge, 1 - edge))
    assert curve(grid).min() > 0 and curve(grid).max() < 1 and (np.diff(curve(grid)) >= 0).all()


def two_bands(queries=4000):
    """Rank 1 is relevant with the score's probability, rank 2 with a tenth of it."""
    generator = np.random.default_rng(1)
    scores_QK = np.sort(generator.random((queries, 2)))[:, ::-1]
    return pairs_of(scores_QK, generator.random((queries, 2)) < scores_QK * [1.0, 0.1])


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_equal_scores_at_other_ranks_have_other_probabilities(method):
    calibration = fit_calibration(two_bands(), method=method, first_ranks=(1, 2))
    first, second = calibration.at_ranks(np.array([0.6, 0.6]), np.array([1, 2]))
    assert first == pytest.approx(0.6, abs=0.06) and second == pytest.approx(0.06, abs=0.03)
    assert calibration.at_ranks(np.array([0.6]), np.array([99])) == [second], "the last band has no end"


def test_temperature_has_one_curve():
    assert fit_calibration(two_bands(), method="temperature", first_ranks=(1, 2)).first_ranks == (1,)


@pytest.mark.parametrize(
    ("relevant_by_rank", "kept"),
    [
        ([50, 50, 50], [1, 2, 3]),
        ([50, 30, 10], [1, 2]),
        ([50, 10, 10], [1, 2]),
        ([50, 5, 5], [1]),
        ([5, 50, 50], [1, 3]),
    ],
)
def test_a_band_with_too_few_relevant_pairs_joins_its_neighbour(relevant_by_rank, kept):
    relevant_QK = np.arange(100)[:, None] < np.array(relevant_by_rank)
    assert merge_bands(pairs_of(np.zeros((100, 3)), relevant_QK), [1, 2, 3]) == kept


@pytest.mark.parametrize(
    ("relevant", "got"), [(19, "got 19 among 100"), (100, "got 100 among 100"), (0, "got 0 among")]
)
def test_too_little_to_fit_to_is_refused(relevant, got):
    pairs = pairs_of(np.random.default_rng(0).random((100, 1)), np.arange(100)[:, None] < relevant)
    with pytest.raises(DataError, match=rf"at least 20 relevant .* {got}.*Hold out more queries"):
        fit_calibration(pairs, method="isotonic", first_ranks=(1,))


def test_a_score_read_as_a_probability():
    assert uncalibrated(np.array([-0.2, 0.3, 1.2]), "cosine").tolist() == [0.0, 0.3, 1.0]
    assert uncalibrated(np.array([-1000.0, 0.0, 1000.0]), "dot").tolist() == [0.0, 0.5, 1.0]
