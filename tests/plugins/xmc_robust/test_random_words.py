"""Invariants: the contract; nothing changes at probability 0; each word of a perturbation set comes as often as it
must, exactly, over a grid of draws; at probability 1 it is what randomised smoothing draws."""

from collections import Counter

import numpy as np
import pytest

from xmc.api import AugmentationContext, DataError, Substitutions
from xmc.checks.smoothing import Perturbations
from xmc.config import build_options
from xmc.errors import ConfigError
from xmc.testing import check_augmentation
from xmc_robust.random_words import RandomRewriting, RandomWords, chosen_places

TEXTS = ["red sea red", "Blue boat.", "nothing here", ""]
SOME = Substitutions({"red": ("pink", "ruby"), "sea": ("ocean",), "blue": ("azure", "navy", "teal")})


@pytest.fixture
def small_set(tmp_path):
    path = tmp_path / "set.txt"
    path.write_text("fast quick rapid\nhouse: home dwelling\nhappy glad\nboat: ship")
    return str(path)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_contract(probability, small_set):
    check_augmentation(RandomWords(probability, small_set))


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_share_of_each_word_is_exact(probability, size):
    """Over 6,000 equally spaced draws word p comes 6,000 x probability / size times, and the old word all the rest."""
    draws_S = (np.arange(6000) + 0.5) / 6000
    counts = Counter(chosen_places(draws_S, np.full(6000, size), probability).tolist())
    for place in range(1, size):
        assert counts[place] == round(6000 * probability / size)
    assert counts[0] == 6000 - (size - 1) * round(6000 * probability / size)


def test_draws_next_to_one_stay_inside():
    edge = np.array([np.nextafter(0.3, 0), np.nextafter(1.0, 0)])
    assert chosen_places(edge, np.array([3, 3]), 0.3).max() <= 2
    assert chosen_places(edge, np.array([3, 3]), 1.0).tolist() == [0, 2]


def test_sites_are_drawn_one_by_one_as_smoothing_draws_them():
    """All 3 x 2 x 3 texts occur, about as often as each other: the least and the most often within 5 deviations."""
    rewriting = RandomRewriting(TEXTS, SOME, 1.0, seed=3)
    ours = Counter(rewriting.rewrite(np.array([0]), epoch, None)[0] for epoch in range(3600))
    theirs = set(Perturbations(SOME).draw(TEXTS[0], 2000, np.random.default_rng(0)))
    assert set(ours) == theirs and len(theirs) == 18
    deviation = (3600 * (1 / 18) * (17 / 18)) ** 0.5
    assert all(abs(count - 200) < 5 * deviation for count in ours.values())


def test_probability_0_changes_nothing_and_texts_without_a_site_stay():
    rows = np.arange(4)
    assert RandomRewriting(TEXTS, SOME, 0.0, 0).rewrite(rows, 1, None) == TEXTS
    always = [RandomRewriting(TEXTS, SOME, 1.0, 0).rewrite(rows, epoch, None) for epoch in range(30)]
    assert {texts[2] for texts in always} == {TEXTS[2]} and {texts[3] for texts in always} == {""}
    assert {texts[1] for texts in always} == {"Blue boat.", "azure boat.", "navy boat.", "teal boat."}


def test_seed_and_epoch_matter():
    one, other = (RandomRewriting(["red " * 40], SOME, 1.0, seed) for seed in (0, 1))
    row = np.array([0])
    assert one.rewrite(row, 0, None) != one.rewrite(row, 1, None)
    assert one.rewrite(row, 0, None) != other.rewrite(row, 0, None)


def test_an_unknown_set_and_a_wrong_probability_are_refused():
    with pytest.raises(DataError, match=r"no substitution set and no file 'wordnets'. Did you mean 'wordnet'"):
        RandomWords(substitutions="wordnets").build(AugmentationContext(TEXTS, None))
    with pytest.raises(ConfigError, match=r"probability must lie in \[0, 1\], got 1.5"):
        build_options(RandomWords, {"probability": 1.5}, section="augmentation")


def test_the_fingerprint_follows_the_file(tmp_path):
    path = tmp_path / "set.txt"
    path.write_text("red: pink")
    options = RandomWords(substitutions=str(path))
    before = options.fingerprint()
    path.write_text("red: ruby")
    assert options.fingerprint() != before
