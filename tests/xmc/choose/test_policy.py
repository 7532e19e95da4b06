"""Invariants: chances down a list are those of Plackett and Luce, and drawn lists follow them."""

import numpy as np
import pytest
from choose_cases import SCORES, lists_of, rank_chances_by_hand
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xmc.choose.policy import Policy, chances_down, rank_chances

SCORE_ROWS = arrays(np.float64, (3, 5), elements=st.floats(-1000, 1000))


@pytest.fixture(scope="module")
def policy():
    return Policy(np.tile(SCORES, (20_000, 1)), 0.6)


def test_chances_of_lists_are_those_by_hand(policy):
    one = policy.take(slice(0, 1))
    for columns, chance in lists_of(one, 3):
        found = [chances[0, column] for chances, column in zip(chances_down(one, columns[None]), columns, strict=True)]
        assert np.prod(found) == pytest.approx(chance)


def test_drawn_lists_come_as_often_as_they_should(policy):
    drawn = policy.draw(3, np.random.default_rng(0))
    for columns, chance in lists_of(policy, 3):
        share = (drawn == columns).all(axis=1).mean()
        assert abs(share - chance) < 4.5 * np.sqrt(chance * (1 - chance) / len(drawn))


def test_chances_at_a_rank_are_those_by_hand(policy):
    found = rank_chances(policy.take(slice(0, 50)), 3, draws=400, generator=np.random.default_rng(1))
    assert np.allclose(found.mean(axis=0), rank_chances_by_hand(policy, 3), atol=0.01)
    assert np.allclose(found[:, 0], rank_chances_by_hand(policy, 1)[0])  # no draw is needed at the first


@given(scores=SCORE_ROWS, shift=st.floats(-100, 100), temperature=st.sampled_from([0.0, 0.01, 1.0, 50.0]))
def test_chances_sum_to_one_and_know_no_shift(scores, shift, temperature):
    nothing = np.zeros(scores.shape, bool)
    chances = Policy(scores, temperature).next_chances(nothing)
    assert np.allclose(chances.sum(axis=1), 1) and (chances >= 0).all()
    if temperature >= 1:
        assert np.allclose(Policy(scores + shift, temperature).next_chances(nothing), chances)


@given(scores=SCORE_ROWS, seed=st.integers(0, 99), temperature=st.sampled_from([0.01, 1.0]))
def test_permuted_candidates_have_permuted_chances(scores, seed, temperature):
    order, taken = np.random.default_rng(seed).permutation(5), np.arange(5) == 2
    one, other = (
        Policy(scores[:, o], temperature).next_chances(np.tile(taken[o], (3, 1))) for o in (np.arange(5), order)
    )
    assert np.allclose(one[:, order], other)


def test_temperature_0_shows_the_best_and_of_equal_ones_the_first():
    policy = Policy(np.array([[0.5, 0.9, 0.5, -np.inf]]), 0.0)
    assert policy.draw(3, np.random.default_rng(0)).tolist() == [[1, 0, 2]]
    assert [chances.argmax() for chances in chances_down(policy, np.array([[1, 0, 2]]))] == [1, 0, 2]
    assert policy.next_chances(np.ones((1, 4), bool)).tolist() == [[0, 0, 0, 0]]
    assert rank_chances(policy, 3, draws=5, generator=np.random.default_rng(0))[0].argmax(axis=1).tolist() == [1, 0, 2]


def test_a_column_without_candidate_is_never_shown():
    policy = Policy(np.array([[0.1, -np.inf, 0.2]]), 0.5)
    assert policy.next_chances(np.zeros((1, 3), bool))[0, 1] == 0
