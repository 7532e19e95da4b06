"""Invariants: on-policy all weighted estimators are the mean; IPS, RIPS and the doubly robust ones hit the true value,
whatever the model; IIPS misses it once clicks interact; a good model lowers the variance; SNIPS stays in bounds."""

from dataclasses import replace

import numpy as np
import pytest
from choose_cases import OTHER_SCORES, RELEVANT, SCORES, logs_of, observe, value_by_hand
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, sem

from xmc.choose.candidate import estimate_all, intervals, judge_candidate
from xmc.choose.estimators import ESTIMATORS, Evidence, effective_rows, independent_ips
from xmc.choose.overlap import overlap_of
from xmc.choose.policy import Policy
from xmc.choose.simulate import Clicks
from xmc.errors import DataError

ROWS, LOGS, RANKS = 40_000, 1000, 3
INDEPENDENT = Clicks(relevant=0.6, irrelevant=0.1, decay=0.5)
CASCADE = Clicks(relevant=0.6, irrelevant=0.1, decay=0.0, cascade=True)
GOOD_MODEL = np.where(RELEVANT, 0.45, 0.08)
WRONG_MODEL = np.where(RELEVANT, 0.1, 0.9)


def policies(rows=ROWS):
    return Policy(np.tile(SCORES, (rows, 1)), 0.7), Policy(np.tile(OTHER_SCORES, (rows, 1)), 0.5)


@pytest.fixture(scope="module")
def independent():
    return observe(*policies(), INDEPENDENT, ranks=RANKS, seed=1, model_M=GOOD_MODEL)


def distance(evidence, name, truth):
    """How many standard errors of the mean over many logs an estimator is away from the truth."""
    estimates = np.array([ESTIMATORS[name](log).value() for log in logs_of(evidence, LOGS)])
    return (estimates.mean() - truth) / (estimates.std(ddof=1) / np.sqrt(LOGS))


@pytest.mark.parametrize("name", ["ips", "iips", "rips", "dr", "cascade-dr"])
def test_unbiased_when_clicks_are_independent(independent, name):
    assert abs(distance(independent, name, value_by_hand(policies(1)[1], INDEPENDENT, RANKS))) < 3


@pytest.mark.parametrize("name", ["dr", "cascade-dr"])
def test_doubly_robust_estimators_survive_a_wrong_model(name):
    wrong = observe(*policies(), INDEPENDENT, ranks=RANKS, seed=1, model_M=WRONG_MODEL)
    truth = value_by_hand(policies(1)[1], INDEPENDENT, RANKS)
    assert abs(distance(wrong, name, truth)) < 3
    assert abs(ESTIMATORS["dm"](wrong).value() - truth) > 0.15  # the model alone does not


def test_iips_is_biased_when_clicks_interact_and_rips_is_not():
    evidence = observe(*policies(), CASCADE, ranks=RANKS, seed=2, model_M=GOOD_MODEL)
    truth = value_by_hand(policies(1)[1], CASCADE, RANKS)
    assert abs(distance(evidence, "rips", truth)) < 3
    assert abs(distance(evidence, "cascade-dr", truth)) < 3
    assert abs(distance(evidence, "iips", truth)) > 6


def test_a_good_model_and_shorter_weights_lower_the_variance(independent):
    spread = {name: terms.pseudo_values().std() for name, terms in estimate_all(independent).items()}
    assert spread["dr"] < 0.9 * spread["ips"]
    assert spread["cascade-dr"] < 0.9 * spread["rips"] < 0.9 * spread["ips"]
    assert spread["clipped-ips"] < spread["ips"]


def test_on_policy_every_weighted_estimator_is_the_mean():
    behaviour, _ = policies(500)
    evidence = observe(behaviour, behaviour, CASCADE, ranks=RANKS, seed=3)
    mean = evidence.rewards_QK.sum(axis=1).mean()
    found = {name: terms.value() for name, terms in estimate_all(evidence).items()}
    assert found.pop("dm") == 0  # a model that knows nothing
    assert found == pytest.approx(dict.fromkeys(found, mean))


def test_with_one_rank_the_list_estimators_are_those_of_bandits():
    evidence = observe(*policies(300), INDEPENDENT, ranks=1, seed=4, model_M=GOOD_MODEL)
    weights, rewards = evidence.ratios_QK[:, 0], evidence.rewards_QK[:, 0]
    found = {name: terms.value() for name, terms in estimate_all(evidence).items()}
    assert found["ips"] == found["rips"] == pytest.approx((weights * rewards).mean())
    assert found["iips"] == pytest.approx(found["ips"])
    assert found["snips"] == pytest.approx((weights * rewards).sum() / weights.sum())
    assert found["clipped-ips"] == pytest.approx((np.minimum(weights, 5) * rewards).mean())
    errors = weights * (rewards - evidence.predicted_QK[:, 0])
    assert found["dr"] == found["cascade-dr"] == pytest.approx(found["dm"] + errors.mean())
    assert found["switch-dr"] == pytest.approx(found["dm"] + (errors * (weights <= 5)).mean())


def test_switch_leaves_heavy_rows_to_the_model():
    evidence = observe(*policies(300), INDEPENDENT, ranks=RANKS, seed=4, model_M=GOOD_MODEL)
    at = {
        limit: estimate_all(replace(evidence, most_weight=limit))["switch-dr"].value() for limit in (1e-12, 1.0, 1e12)
    }
    found = estimate_all(evidence)
    assert at[1e-12] == pytest.approx(found["dm"].value()) and at[1e12] == pytest.approx(found["dr"].value())
    assert at[1.0] != at[1e12]


RATIOS = arrays(np.float64, (6, 2), elements=st.floats(0, 50))
REWARDS = arrays(np.float64, (6, 2), elements=st.floats(-3, 3))


def bare(ratios_QK, rewards_QK):
    nothing = np.zeros_like(rewards_QK)
    return Evidence(rewards_QK, ratios_QK, nothing, nothing, nothing, None, 10.0)


@given(ratios=RATIOS, rewards=REWARDS)
def test_snips_never_leaves_the_rewards_of_the_lists(ratios, rewards):
    terms, totals = ESTIMATORS["snips"](bare(ratios, rewards)), rewards.sum(axis=1)
    low, high = min(totals.min(), 0), max(totals.max(), 0)  # without any weight it is 0
    assert low - 1e-9 <= terms.value() <= high + 1e-9


def test_ips_does_leave_them():
    assert ESTIMATORS["ips"](bare(np.full((2, 1), 3.0), np.ones((2, 1)))).value() == 3


@given(weights=arrays(np.float64, 9, elements=st.floats(0, 1e6)), scale=st.floats(1e-3, 1e3))
def test_effective_rows_lie_between_one_and_all_and_know_no_scale(weights, scale):
    found = effective_rows(weights)
    assert found == 0 if not (weights**2).any() else 1 - 1e-9 <= found <= 9 + 1e-9
    if weights.max() > 1e-3:
        assert effective_rows(scale * weights) == pytest.approx(found)


@given(ratios=RATIOS, rewards=REWARDS, seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(ratios, rewards, seed):
    order = np.random.default_rng(seed).permutation(6)
    one, other = (estimate_all(bare(*pair)) for pair in ((ratios, rewards), (ratios[order], rewards[order])))
    assert {name: terms.value() for name, terms in one.items()} == pytest.approx(
        {name: terms.value() for name, terms in other.items()}, rel=1e-9, abs=1e-9
    )


def test_iips_needs_chances_at_a_rank():
    evidence = bare(np.ones((2, 2)), np.ones((2, 2)))
    assert "iips" not in estimate_all(evidence)
    with pytest.raises(DataError, match="rank_propensities"):
        independent_ips(evidence)


def test_intervals_hold_the_truth_in_about_95_of_100_logs(independent):
    truth = value_by_hand(policies(1)[1], INDEPENDENT, RANKS)
    covered = dict.fromkeys(("ips", "snips", "dr", "cascade-dr"), 0)
    for log in logs_of(independent, 200):
        figures = intervals({name: ESTIMATORS[name](log) for name in covered}, samples=200, seed=0)
        for name, figure in figures.items():
            covered[name] += figure.low <= truth <= figure.high
    assert all(count >= 172 for count in covered.values()), covered


def test_a_biased_estimator_is_not_covered(independent):
    truth = value_by_hand(policies(1)[1], INDEPENDENT, RANKS)
    tight = replace(independent, most_weight=1.0)
    figure = intervals({"clipped-ips": ESTIMATORS["clipped-ips"](tight)}, samples=200, seed=0)["clipped-ips"]
    assert figure.high < truth


@pytest.mark.parametrize(
    ("ratios", "outside", "warning"),
    [
        (np.r_[np.full(60, 4.0), np.zeros(180)], 0.0, "240 rows say as much as 60"),
        (np.full(500, 0.4), 0.0, "weights average to 0.40, not 1"),
        (np.r_[np.ones(1000), [100.0]], 0.0, "one row has 9 % of all weight"),
        (np.ones(500), 0.3, "30 % of what the run would show were no candidates"),
        (np.ones(500), 0.05, ""),
    ],
)
def test_warnings_of_overlap(ratios, outside, warning):
    overlap = overlap_of(ratios[:, None], outside=outside)
    assert warning in " ".join(overlap.warnings())
    assert bool(overlap.warnings()) == bool(warning)


def test_the_risk_is_a_standard_error_and_the_chance_that_of_a_normal_variable():
    rewards_QK = np.random.default_rng(0).normal(0.1, 1.0, (200, 1))
    nothing_QK = np.zeros_like(rewards_QK)
    evidence = Evidence(-rewards_QK, np.ones_like(rewards_QK), nothing_QK, nothing_QK, nothing_QK, None, 10.0)
    report = judge_candidate("a", evidence, estimator="dm", outside=0.0, samples=20, seed=0)
    assert report.gain.value == pytest.approx(rewards_QK.mean()) and report.risk == pytest.approx(sem(rewards_QK)[0])
    assert report.chance_worse == pytest.approx(norm.cdf(-report.gain.value / report.risk))
    for rows in (200, 2):
        weights_Q1 = np.abs(rewards_QK[:rows])
        assert overlap_of(weights_Q1, outside=0.0).mean_weight_error == pytest.approx(sem(weights_Q1)[0])


def test_a_candidate_without_overlap_is_refused():
    evidence = bare(np.zeros((5, 1)), np.ones((5, 1)))
    with pytest.raises(DataError, match=r"'b' would have shown none of the 5 lists.*--temperature above 0"):
        judge_candidate("b", evidence, estimator="ips", outside=0.0, samples=10, seed=0)


@pytest.mark.parametrize(
    "ratios", [[[1.0, 1.0], [1e200, 1e200]], [[1.0, 1.0], [np.inf, 0.0]], [[1e101, 0.0], [1.0, 1.0]]]
)
def test_weights_that_are_no_numbers_are_refused(ratios):
    wild, ones = np.array(ratios), np.ones((2, 2))
    for evidence in (bare(wild, ones), replace(bare(ones, ones), rank_ratios_QK=wild)):
        with pytest.raises(
            DataError, match=r"1 list of the log, such as that of row [01], would count with a weight above"
        ):
            judge_candidate("a", evidence, estimator="dr", outside=0.0, samples=9, seed=0)


def test_verdict_follows_the_interval_of_the_gain(independent):
    rewards = independent.rewards_QK[:4000]
    for shift, verdict in ((0.2, "better"), (-0.2, "worse"), (0.0, "unclear")):
        nothing = np.zeros_like(rewards)
        evidence = Evidence(rewards, np.ones_like(rewards), nothing, nothing + shift, nothing, None, 10.0)
        report = judge_candidate("a", evidence, estimator="cascade-dr", outside=0.0, samples=50, seed=0)
        assert report.verdict == verdict and report.gain.value == pytest.approx(3 * shift)
    assert (
        judge_candidate("a", evidence, estimator="cascade-dr", outside=0.9, samples=50, seed=0).verdict == "unreliable"
    )
