"""Invariants: the figures of a portfolio are those by hand; permuting candidates changes nothing; equal accuracy and
different risk are told apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.choose.portfolio import portfolio
from xmc.errors import ConfigError


def test_by_hand():
    # by estimate: 0.9 (true 0.5), 0.8 (true 0.1), 0.7 (true 0.3), 0.1 (true 0.9)
    estimates, truths = [0.7, 0.9, 0.1, 0.8], [0.3, 0.5, 0.9, 0.1]
    found = portfolio(estimates, truths, k=3, behaviour=0.2)
    assert (found.best, found.worst) == (0.5, 0.1)
    assert found.mean == pytest.approx(0.3)
    assert found.std == pytest.approx(np.sqrt((0.2**2 + 0.2**2 + 0) / 3))
    assert found.violations == pytest.approx(1 / 3)
    assert found.sharpe_ratio == pytest.approx(0.3 / np.sqrt(0.08 / 3))


def test_equal_accuracy_and_different_risk_are_told_apart():
    """Both misjudge one candidate by 0.6: one overrates the worst, the other underrates a good one."""
    truths = [0.0, 0.4, 0.5, 0.6]
    overrates, underrates = [0.6001, 0.4, 0.5, 0.6], [0.0, 0.4, -0.1, 0.6]
    errors = [np.mean((np.array(estimates) - truths) ** 2) for estimates in (overrates, underrates)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
    risky, careful = (portfolio(estimates, truths, k=2, behaviour=0.3) for estimates in (overrates, underrates))
    assert risky.best == careful.best == 0.6
    assert risky.violations == 0.5 and careful.violations == 0
    assert risky.sharpe_ratio == pytest.approx(0.3 / 0.3) and careful.sharpe_ratio == pytest.approx(0.3 / 0.1)


def test_undefined_without_spread_and_never_negative():
    assert portfolio([1.0, 2.0], [0.1, 0.7], k=1, behaviour=0.2).sharpe_ratio is None
    assert portfolio([1.0, 2.0], [0.7, 0.7], k=2, behaviour=0.2).sharpe_ratio is None
    assert portfolio([1.0, 2.0], [0.1, 0.7], k=2, behaviour=0.9).sharpe_ratio == 0


PAIRS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 100)), min_size=2, max_size=7, unique_by=lambda pair: pair[0]
)


@given(pairs=PAIRS, seed=st.integers(0, 99))
def test_permuting_candidates_changes_nothing(pairs, seed):
    order = np.random.default_rng(seed).permutation(len(pairs))
    estimates, truths = (np.array(column, float) for column in zip(*pairs, strict=True))
    for k in range(1, len(pairs) + 1):
        assert portfolio(estimates, truths, k=k, behaviour=50.0) == portfolio(
            estimates[order], truths[order], k=k, behaviour=50.0
        )


@pytest.mark.parametrize("k", [0, 3])
def test_k_is_a_number_of_candidates(k):
    with pytest.raises(ConfigError, match=rf"1\.\.2, the number of candidates, got {k}"):
        portfolio([1.0, 2.0], [1.0, 2.0], k=k, behaviour=0.0)
