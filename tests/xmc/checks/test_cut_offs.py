"""Invariants: the rates at a cut-off are those of a loop over the pairs; a choice is the right one of all that reach
the target, and one that none reaches is refused with the best there is."""

import numpy as np
import pytest

from xmc.checks.cut_offs import cut_offs_of
from xmc.checks.pairs import Pairs
from xmc.errors import ConfigError


@pytest.fixture(scope="module")
def example():
    generator = np.random.default_rng(0)
    probabilities = np.round(generator.random(400), 2)
    relevant = generator.random(400) < probabilities**2
    zeros = np.zeros(400, np.int64)
    return Pairs(1, 200, zeros, zeros, zeros, probabilities, relevant), probabilities


def rates(pairs, probabilities, cut_off):
    returned = [bool(hit) for hit, p in zip(pairs.relevant_H, probabilities, strict=True) if p >= cut_off]
    right = sum(returned)
    return right / len(returned), right / pairs.positives, (len(returned) - right) / int((~pairs.relevant_H).sum())


def test_the_rates_are_those_of_a_loop(example):
    cut_offs = cut_offs_of(*example)
    assert cut_offs.probabilities_T.tolist() == sorted(set(example[1].tolist()), reverse=True)
    columns = (cut_offs.precisions_T, cut_offs.recalls_T, cut_offs.false_positive_rates_T)
    for cut_off, *found in zip(cut_offs.probabilities_T, *columns, strict=True):
        assert found == pytest.approx(rates(*example, cut_off))


@pytest.mark.parametrize(
    ("target", "place"), [({"precision": 0.8}, 0), ({"recall": 0.3}, 1), ({"false_positive_rate": 0.05}, 2)]
)
def test_the_chosen_cut_off_is_the_best_that_reaches_the_target(example, target, place):
    ((name, wanted),) = target.items()
    chosen = cut_offs_of(*example).choose(**target)
    reaching = [
        cut_off
        for cut_off in set(example[1].tolist())
        if (rates(*example, cut_off)[place] <= wanted if name[0] == "f" else rates(*example, cut_off)[place] >= wanted)
    ]
    assert chosen == (max(reaching) if name == "recall" else min(reaching))


def test_a_target_that_nothing_reaches_is_refused_with_the_best_there_is(example):
    best = max(cut_offs_of(*example).recalls_T)
    with pytest.raises(
        ConfigError, match=rf"no cut-off reaches recall 0\.99; the best on held-out queries is {best:.3f}"
    ):
        cut_offs_of(*example).choose(recall=0.99)


@pytest.mark.parametrize("targets", [{}, {"precision": 0.5, "recall": 0.5}, {"precision": 1.5}, {"recall": -0.1}])
def test_one_target_within_0_and_1_is_asked_for(example, targets):
    with pytest.raises(ConfigError, match=r"give exactly one of precision, recall|must lie in 0\.\.1"):
        cut_offs_of(*example).choose(**targets)


def test_many_cut_offs_are_thinned_but_keep_their_ends(example):
    few, all_of_them = cut_offs_of(*example, most=10), cut_offs_of(*example)
    assert len(few.probabilities_T) == 10
    assert few.probabilities_T[[0, -1]].tolist() == all_of_them.probabilities_T[[0, -1]].tolist()
    assert set(few.recalls_T.tolist()) <= set(all_of_them.recalls_T.tolist())


def test_without_pairs_there_are_no_cut_offs():
    nothing = Pairs(2, 3, *(np.zeros(0, np.int64) for _ in range(3)), np.zeros(0), np.zeros(0, bool))
    assert len(cut_offs_of(nothing, np.zeros(0)).probabilities_T) == 0
