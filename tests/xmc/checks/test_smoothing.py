"""Invariants: the smoothed score moves by no more than Q over every allowed edit; Monte-Carlo intervals cover it as
often as they promise; equal sets and radius without sites give Q = 0."""

import itertools
import math

import numpy as np
import pytest
import torch
from toy_words import WORDS, some_substitutions, some_text

from xmc.checks.smoothing import (
    Perturbations,
    Votes,
    certified_against_labels,
    half_width,
    least_share,
    smoothed_scores,
    smoothed_vectors,
)
from xmc.checks.variants import variants
from xmc.substitutions.word_sets import Substitutions

GENERATOR = np.random.default_rng(0)
VECTORS = dict(zip(WORDS, GENERATOR.normal(size=(7, 3)), strict=True))


def embed(texts):
    return torch.from_numpy(np.array([sum(VECTORS[word] for word in text.split()) for text in texts]))


def true_score(text, perturbations, unit_D):
    """g by its definition: the mean over every combination of perturbation sets."""
    values = []
    for words in itertools.product(*(perturbations.words(word) for word in text.split())):
        total_D = sum(VECTORS[word] for word in words)
        values.append((1 + total_D @ unit_D / math.sqrt(total_D @ total_D)) / 2)
    return float(np.mean(values))


def test_no_edit_moves_the_smoothed_score_by_more_than_the_bound():
    generator = np.random.default_rng(1)
    tried = 0
    for _ in range(40):
        perturbations = Perturbations(some_substitutions(generator))
        text = some_text(generator, longest=3)
        unit_D = generator.normal(size=3)
        unit_D /= np.linalg.norm(unit_D)
        before = true_score(text, perturbations, unit_D)
        for radius in (1, 2, 0):
            bound = perturbations.variation(text, radius)
            for attacked in variants(text, perturbations.substitutions.sites(text), radius):
                assert abs(true_score(attacked, perturbations, unit_D) - before) <= bound + 1e-9
                tried += 1
    assert tried > 500


def test_monte_carlo_covers_as_often_as_it_promises():
    perturbations = Perturbations(Substitutions({"red": ("blue", "net"), "fish": ("boat",)}))
    unit_D = np.array([0.6, 0.0, 0.8])
    truth = true_score("red fish", perturbations, unit_D)
    repetitions, confidence = 1000, 0.9
    width = half_width(60, confidence, 1)
    means_ND = smoothed_vectors(["red fish"] * repetitions, perturbations, embed, samples=60, seed=3)
    scores_N = smoothed_scores(means_ND.double(), torch.from_numpy(unit_D)[None])[:, 0].numpy()
    assert (np.abs(scores_N - truth) <= width).mean() >= confidence
    assert scores_N.std() > 0  # texts draw from generators of their own
    assert scores_N.mean() == pytest.approx(truth, abs=4 * scores_N.std() / math.sqrt(repetitions))


def test_equal_sets_cannot_be_told_apart():
    perturbations = Perturbations(Substitutions({"red": ("blue",), "blue": ("red",)}))
    assert perturbations.variation("red blue red", 0) == 0
    assert perturbations.variation("sea", 3) == 0


def test_draws_are_uniform_over_the_set():
    perturbations = Perturbations(Substitutions({"red": ("blue", "net")}))
    drawn = perturbations.draw("red", 3000, np.random.default_rng(0))
    assert {word: drawn.count(word) for word in sorted(set(drawn))} == pytest.approx(
        {"blue": 1000, "net": 1000, "red": 1000}, abs=120
    )


def test_an_attacked_text_draws_the_same_strings_whatever_its_capital_letters():
    perturbations = Perturbations(Substitutions({"red": ("blue",), "blue": ("red",)}))
    sites = perturbations.substitutions.sites("A RED Net")
    assert perturbations.variation("A RED Net", 0) == 0  # so an encoder that reads capitals must see no difference
    for attacked in ("A RED Net", *variants("A RED Net", sites, 0)):
        assert set(perturbations.draw(attacked, 50, np.random.default_rng(0))) == {"A red Net", "A blue Net"}


def true_votes(text, perturbations, labels_LD, k):
    """Share of all rewritings, weighted by how they are drawn, that have each label among their first k."""
    sets = [perturbations.words(word) for word in text.split()]
    votes_L = np.zeros(len(labels_LD))
    combinations = list(itertools.product(*sets))
    for words in combinations:
        scores_L = labels_LD @ sum(VECTORS[word] for word in words)
        votes_L[np.argsort(-scores_L)[:k]] += 1 / len(combinations)
    return votes_L


def test_lists_of_votes_stay_under_every_edit():
    """Certified from drawn rewritings, judged by all of them."""
    generator = np.random.default_rng(4)
    alike = {word: tuple(other for other in WORDS[:4] if other != word) for word in WORDS[:4]}
    alike["red"] = (*alike["red"], "old")  # four words with nearly the same set, and one with an end in it
    certified = lost = 0
    perturbations = Perturbations(Substitutions(alike))
    for case in range(40):
        text, labels_LD = some_text(generator, longest=3), generator.normal(size=(6, 3))
        sites = perturbations.substitutions.sites(text)
        for k, radius in itertools.product((1, 2), (1, 2)):
            before = set(np.argsort(-true_votes(text, perturbations, labels_LD, k))[:k])
            drawn = perturbations.draw(text, 400, np.random.default_rng(case))
            answers = [np.argsort(-labels_LD @ sum(VECTORS[word] for word in one.split())) for one in drawn]
            votes = Votes.of(answers, k)
            variation = perturbations.variation(text, radius)
            if variation > 0 and votes.certified(k, variation, labels=6, confidence=0.99):
                certified += 1
                lost += set(votes.label_rows[:k].tolist()) != before
                for attacked in variants(text, sites, radius):
                    after = np.argsort(-true_votes(attacked, perturbations, labels_LD, k))[:k]
                    lost += set(after) != before
    assert certified >= 5
    assert lost == 0


def test_more_steps_make_sets_more_alike():
    chain = Substitutions({"red": ("blue",), "blue": ("red", "net"), "net": ("blue",)})
    assert Perturbations(chain).words("red") == ("red", "blue")
    assert Perturbations(chain, 2).words("red") == ("red", "blue", "net")
    assert Perturbations(chain).overlap("red") == pytest.approx(2 / 3)
    assert Perturbations(chain, 2).overlap("red") == 1


def test_the_least_share_holds_as_often_as_it_promises():
    generator = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.97):
        counts = generator.binomial(80, share, size=1000)
        assert np.mean([least_share(int(count), 80, 0.1) <= share for count in counts]) >= 0.88
    assert least_share(60, 80, 0.01) < least_share(60, 80, 0.1) < 60 / 80


def test_label_lists_against_their_definition():
    generator = np.random.default_rng(2)
    scores_QL = generator.random((6, 5))
    variations_L, width, ks = generator.random(5) / 10, 0.03, (1, 2, 5)
    by_label = certified_against_labels(scores_QL, variations_L, width, ks)
    assert by_label.any() and not by_label[:, :2].all()
    assert (by_label != certified_against_labels(scores_QL, variations_L, width / 2, ks)).any()
    for query, column in itertools.product(range(6), range(3)):
        ranked = sorted(range(5), key=lambda label: -scores_QL[query, label])
        inside, outside = ranked[: ks[column]], ranked[ks[column] :]
        edge = scores_QL[query, inside[-1]]
        assert by_label[query, column] == all(
            scores_QL[query, label] + width + variations_L[label] < edge - width for label in outside
        )
