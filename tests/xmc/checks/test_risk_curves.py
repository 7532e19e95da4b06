"""Invariants: the risk at a cut-off is the mean of a loop; the chosen cut-off is the largest that keeps the bound; over
many splits the promise is kept, and it is broken when calibration and test queries are not of one kind."""

import numpy as np
import pytest

from xmc.checks.risk_curves import FoundPositives, risk_curve
from xmc.errors import ConfigError, DataError
from xmc.retrieve.label_sets import LabelSets, keep_hits, nearness, queries_needed
from xmc.values import Hits


def found_positives(queries=300, seed=0, shift=0.0):
    """Queries with 1 to 4 positives, some never retrieved; `shift` makes their positives stand farther from the top."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 5, queries)
    query_rows = np.repeat(np.arange(queries), counts)
    nearness_P = -np.round(generator.exponential(0.1 + shift, len(query_rows)), 3)
    retrieved = generator.random(len(query_rows)) < 0.98
    return FoundPositives(query_rows[retrieved], nearness_P[retrieved], counts)


def losses(found, cut_off):
    """The share of positives that each query misses, counted one by one."""
    missed = []
    for query, count in enumerate(found.positive_counts_Q):
        kept = [n for q, n in zip(found.query_rows_P, found.nearness_P, strict=True) if q == query and n >= cut_off]
        missed.append(1 - len(kept) / count)
    return missed


def test_the_risk_is_that_of_a_loop():
    found = found_positives(60)
    curve = risk_curve(found)
    assert curve.missing == pytest.approx(np.mean(losses(found, -np.inf)))
    for step in range(0, len(curve.cut_offs_S), 7):
        assert curve.risks_S[step] == pytest.approx(np.mean(losses(found, curve.cut_offs_S[step])))
        assert found.missed_shares(curve.cut_offs_S[step]) == pytest.approx(losses(found, curve.cut_offs_S[step]))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_the_cut_off_is_the_largest_that_keeps_the_bound(alpha):
    found = found_positives(40)
    curve = risk_curve(found)
    bounds = {cut_off: 40 / 41 * np.mean(losses(found, cut_off)) + 1 / 41 for cut_off in set(found.nearness_P.tolist())}
    assert curve.cut_off(alpha) == max(cut_off for cut_off, bound in bounds.items() if bound <= alpha + 1e-12)


def test_coverage_is_the_split_conformal_quantile():
    """With one positive a query the n + 1 quantile rule of split conformal prediction gives the same cut-off."""
    generator = np.random.default_rng(2)
    nearness_P = -generator.random(99)
    found = FoundPositives(np.arange(99), nearness_P, np.ones(99, np.int64))
    for alpha in (0.05, 0.1, 0.25):
        rank = int(np.ceil((99 + 1) * (1 - alpha) - 1e-9))  # of the non-conformity, -nearness
        assert risk_curve(found.best()).cut_off(alpha) == pytest.approx(-np.sort(-nearness_P)[rank - 1])


def test_the_best_positive_of_each_query_is_its_nearest():
    found = FoundPositives(np.array([0, 0, 2]), np.array([-0.4, -0.1, -0.3]), np.array([3, 1, 1]))
    best = found.best()
    assert best.query_rows_P.tolist() == [0, 2] and best.nearness_P.tolist() == [-0.1, -0.3]
    assert risk_curve(best).missing == pytest.approx(1 / 3), "a query of which nothing was found is lost"


def test_taking_queries_takes_their_positives():
    found = found_positives(50)
    rows = np.array([7, 3, 40])
    part = found.take(rows)
    assert part.missed_shares(-0.1).tolist() == found.missed_shares(-0.1)[rows].tolist()


def mean_losses(alpha, *, splits, shift):
    """Mean loss on the other half over random halvings; `shift` is that of the queries to be judged."""
    calibration, judged = found_positives(400, seed=5), found_positives(400, seed=5, shift=shift)
    generator = np.random.default_rng(0)
    values = []
    for _ in range(splits):
        order = generator.permutation(400)
        cut_off = risk_curve(calibration.take(order[:200])).cut_off(alpha)
        values.append(judged.take(order[200:]).missed_shares(cut_off).mean())
    return np.mean(values), np.std(values) / np.sqrt(splits)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_over_500_splits_the_promise_is_kept_and_not_by_much(alpha):
    mean, error = mean_losses(alpha, splits=500, shift=0.0)
    assert alpha - 0.03 < mean <= alpha + 2 * error


def test_queries_of_another_kind_break_the_promise():
    mean, error = mean_losses(0.1, splits=100, shift=0.1)
    assert mean > 0.1 + 10 * error


@pytest.mark.parametrize(("alpha", "needed"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99)])
def test_too_few_queries_are_refused_with_how_many_are_needed(alpha, needed):
    assert queries_needed(alpha) == needed
    found = FoundPositives(np.arange(needed), np.zeros(needed), np.ones(needed, np.int64))
    assert risk_curve(found).cut_off(alpha) == 0
    if needed > 1:
        with pytest.raises(DataError, match=rf"needs at least {needed} calibration queries, got {needed - 1}\."):
            risk_curve(found.take(np.arange(needed - 1))).cut_off(alpha)


def test_an_alpha_that_the_longest_lists_cannot_keep_is_refused():
    found = FoundPositives(np.arange(50), np.zeros(50), np.ones(100, np.int64))
    with pytest.raises(DataError, match=r"even the longest lists miss 0\.500\. Raise check\.conformal\.most_labels"):
        risk_curve(found).cut_off(0.2)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_alpha_lies_between_0_and_1(alpha):
    with pytest.raises(ConfigError, match="alpha must lie between 0 and 1"):
        risk_curve(found_positives()).cut_off(alpha)


HITS = Hits(np.array([0, 3, 3, 4]), np.array([5, 1, 2, 0]), np.array([0.5, 0.25, -0.5, 3.0], np.float32))


def test_a_set_is_the_start_of_a_list_down_to_the_cut_off():
    found = FoundPositives(np.array([0]), np.array([-0.25]), np.ones(1, np.int64))
    sets = LabelSets("gap", 10, {"false-negatives": risk_curve(found)})
    kept = sets.cut(HITS, alpha=0.6)
    assert kept.label_rows.tolist() == [5, 1, 0] and kept.offsets.tolist() == [0, 2, 2, 3]
    with pytest.raises(ConfigError, match="there is no risk 'coverage'"):
        sets.cut(HITS, alpha=0.6, risk="coverage")


def test_nearness_is_the_score_or_its_distance_from_the_best():
    assert nearness(HITS, "score").tolist() == HITS.scores.tolist()
    assert nearness(HITS, "gap").tolist() == [0.0, -0.25, -1.0, 0.0]
    nothing = Hits(np.zeros(3, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    assert len(nearness(nothing, "gap")) == 0 and len(keep_hits(nothing, np.zeros(0, bool))) == 2
