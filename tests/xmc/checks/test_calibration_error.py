"""Invariants: ECE, Brier score and log loss equal loops and scikit-learn; an interval covers what it should; bins have
equal mass and never tear equal probabilities apart."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from xmc.checks.calibration_error import (
    brier_scores,
    equal_mass_bins,
    error_by_chance,
    expected_calibration_error,
    log_losses,
)
from xmc.checks.intervals import ece_figures, mean_figures, query_weights
from xmc.checks.reliability import draw_reliability, reliability_table, wilson_interval


def drawn(count=3000, seed=0, shift=0.0):
    """Probabilities, and hits that come true with the probability plus `shift`."""
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(0.5, 2, count)
    return probabilities, generator.random(count) < np.clip(probabilities + shift, 0, 1)


def test_bins_are_those_of_scikit_learn():
    probabilities, hits = drawn()
    bins = equal_mass_bins(probabilities, hits, bins=15)
    rates, means = calibration_curve(hits, probabilities, n_bins=15, strategy="quantile")
    assert bins.hit_rates_B == pytest.approx(rates) and bins.mean_probabilities_B == pytest.approx(means)
    assert bins.counts_B.tolist() == [200] * 15


def test_ece_is_the_loop():
    probabilities, hits = drawn(shift=0.1)
    order = np.argsort(probabilities)
    expected = 0.0
    for part in np.array_split(order, 10):
        expected += len(part) / len(order) * abs(probabilities[part].mean() - hits[part].mean())
    found = expected_calibration_error(equal_mass_bins(probabilities, hits, bins=10))
    assert found == pytest.approx(expected, abs=1e-9) and found > 0.05


def test_equal_probabilities_are_in_one_bin():
    probabilities = np.repeat([0.1, 0.5, 0.9], [600, 150, 250])
    bins = equal_mass_bins(probabilities, probabilities > 0.4, bins=15)
    assert bins.counts_B.tolist() == [600, 150, 250]
    assert equal_mass_bins(np.full(50, 0.3), np.zeros(50), bins=15).counts_B.tolist() == [50]


def test_hits_by_inverse_propensity_are_cut_at_1():
    bins = equal_mass_bins(np.array([0.5, 0.5]), np.array([0.0, 5.0]))
    assert bins.hit_rates_B.tolist() == [1.0]


def test_brier_and_log_loss_are_those_of_scikit_learn():
    probabilities, hits = drawn()
    assert brier_scores(probabilities, hits).mean() == pytest.approx(brier_score_loss(hits, probabilities))
    assert log_losses(probabilities, hits).mean() == pytest.approx(log_loss(hits, np.clip(probabilities, 1e-7, 1)))
    assert np.isfinite(log_losses(np.array([0.0, 1.0]), np.array([True, False]))).all()


def test_error_by_chance_is_the_mean_of_simulations():
    probabilities, _ = drawn()
    generator = np.random.default_rng(3)
    simulated = [
        expected_calibration_error(equal_mass_bins(probabilities, generator.random(3000) < probabilities))
        for _ in range(200)
    ]
    bins = equal_mass_bins(probabilities, probabilities)
    assert error_by_chance(probabilities, bins) == pytest.approx(np.mean(simulated), rel=0.06)


def test_each_draw_of_queries_has_as_many_as_there_are():
    weights = np.concatenate(list(query_weights(7, samples=50, seed=1)))
    assert weights.shape == (50, 7) and (weights.sum(axis=1) == 7).all() and weights.std() > 0.5


def ece_interval(seed, shift):
    """The ECE of 400 queries with 5 pairs each, and its interval."""
    probabilities, hits = drawn(2000, seed, shift)
    bins = equal_mass_bins(probabilities, hits, bins=5)
    gaps = np.zeros((400, len(bins.counts_B)))
    for pair in range(2000):
        gaps[pair // 5, bins.bin_H[pair]] += probabilities[pair] - hits[pair]
    value = expected_calibration_error(bins)
    return ece_figures([value], [gaps], [np.full(400, 5)], samples=200, seed=0)[0]


def test_the_interval_of_a_known_error_holds_it_most_times():
    truth = np.mean([abs(np.clip(p + 0.1, 0, 1) - p) for p in drawn(100_000)[0]])
    figures = [ece_interval(seed, 0.1) for seed in range(60)]
    assert sum(figure.low <= truth <= figure.high for figure in figures) >= 50
    assert all(figure.low <= figure.value <= figure.high for figure in figures)


def concentrated(seed):
    """The ECE of 100 queries whose high probabilities are too high, with its interval, and the true error."""
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(0.5, 2, 500)
    true = np.where(probabilities > 0.6, probabilities - 0.32, probabilities)
    gaps_H = probabilities - (generator.random(500) < true)
    bins = equal_mass_bins(probabilities, probabilities - gaps_H, bins=15)
    cells_H, width = np.arange(500) // 5 * len(bins.counts_B) + bins.bin_H, len(bins.counts_B)
    gaps = np.bincount(cells_H, gaps_H, 100 * width).reshape(100, width)
    value, errors_B = expected_calibration_error(bins), np.bincount(bins.bin_H, probabilities - true)
    return ece_figures([value], [gaps], [np.full(100, 5)], samples=200, seed=0)[0], np.abs(errors_B).sum() / 500


def test_an_error_of_few_bins_is_held_as_often_as_one_of_all():
    cases = [concentrated(seed) for seed in range(80)]
    assert sum(figure.low <= truth <= figure.high for figure, truth in cases) >= 70  # 76 are 95 %
    assert sum(figure.low > 0 for figure, _ in cases) >= 10  # and it says something


def test_of_true_probabilities_the_interval_reaches_down_to_nothing():
    assert sum(ece_interval(seed, 0.0).low == 0 for seed in range(40)) >= 34
    assert sum(ece_interval(seed, 0.1).low > 0 for seed in range(10)) == 10


def test_the_upper_end_is_above_by_what_the_sure_gaps_lack_in_the_draws():
    """Of one bin whose gap is positive, or negative, in every query: the 97.5 % quantile of its draws, by hand."""
    size_Q = np.random.default_rng(0).uniform(0.2, 0.4, 50)
    weights_SQ = np.concatenate(list(query_weights(50, samples=200, seed=0)))
    for sign in (1, -1):
        figure = ece_figures([size_Q.mean()], [sign * size_Q[:, None]], [np.ones(50)], samples=200, seed=0)[0]
        drawn_S = weights_SQ @ size_Q / 50
        assert figure.high == pytest.approx(2 * size_Q.mean() - np.quantile(drawn_S, 0.025), rel=1e-5)
        assert figure.low == pytest.approx(2 * size_Q.mean() - np.quantile(drawn_S, 0.975), rel=1e-5)


def test_without_samples_there_is_no_interval():
    assert ece_figures([0.1], [np.zeros((2, 1))], [np.ones(2)], samples=0, seed=0)[0].low is None
    assert (
        mean_figures(np.array([[1.0], [3.0]]), samples=0, seed=0)[0]
        == mean_figures(np.array([[2.0], [2.0]]), samples=0, seed=0)[0]
    )


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(size=(900, 1))
    (figure,) = mean_figures(values, samples=1000, seed=0)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 / 30, rel=0.15)


def test_the_interval_of_a_share_stays_within_0_and_1():
    """A draw without a hit is 0, and not a little less or more; so is one of hits only."""
    for hits in (1, 4):
        (figure,) = mean_figures(np.arange(5)[:, None] < hits, samples=1000, seed=0)
        assert (figure.low, figure.high)[hits > 1] == (hits > 1)


def test_the_diagram_has_each_stage_and_the_table_each_bin():
    probabilities, hits = drawn()
    bins_of = {(k, stage): equal_mass_bins(probabilities, hits) for k in (1, 5) for stage in ("before", "after")}
    table = reliability_table(bins_of)
    assert {len(column) for column in table.values()} == {60}
    assert all(
        low <= rate <= high for low, rate, high in zip(table["low"], table["hit_rate"], table["high"], strict=True)
    )
    figure = draw_reliability(bins_of)
    assert len(figure.axes) == 4 and [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_wilson_stays_within_0_and_1():
    low, high = wilson_interval(np.array([0.0, 1.0]), np.array([3, 3]))
    assert low[0] == pytest.approx(0) and 0.5 < high[0] < 0.6 and high[1] <= 1
