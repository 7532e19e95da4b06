"""Invariants, over every allowed rewriting of toy labels: no label enters a certified list; by listing, and for means
of tokens, every label that may enter is counted and its attack works."""

import numpy as np
import pytest
import torch
from toy_words import toy

from xmc.checks.additive import additive_texts
from xmc.checks.label_certificate import LabelCertifier
from xmc.checks.rounding import NotCertifiedError
from xmc.checks.variants import variants
from xmc.encode.encoder import embed_texts
from xmc.substitutions.word_sets import Substitutions

RADII, KS = (1, 2, 0), (1, 3)


@pytest.mark.parametrize(
    ("kind", "by_listing"),
    [
        ("static", False),
        ("static dot", False),
        ("tfidf", False),
        ("tfidf without opening", False),
        ("tfidf cosine", False),
        ("tfidf", True),
    ],
)
def test_against_every_rewriting(kind, by_listing):
    exact = by_listing or kind == "static dot"
    proved = 0
    for seed in range(8):
        generator, texts, encoder, substitutions = toy(kind, seed, share=0.3)

        def embed(some, encoder=encoder):
            return embed_texts(encoder, some, "label")

        queries_QD = torch.nn.functional.normalize(torch.from_numpy(generator.normal(size=(3, 4)).astype("f4")), dim=1)
        scores_QL = (queries_QD @ embed(texts).T).numpy()
        order_QL = np.argsort(-scores_QL, axis=1, kind="stable")
        ranks_QL = np.argsort(order_QL, axis=1)
        edges_QN = np.stack([scores_QL[range(3), order_QL[:, k - 1]] for k in KS], axis=1)
        side = None if by_listing else additive_texts(encoder, "label")
        certifier = LabelCertifier(side, substitutions, texts, embed, RADII, listed=10**9 if by_listing else 0)
        arguments = (queries_QD, edges_QN, lambda row, ranks_QL=ranks_QL: ranks_QL[:, row], KS)
        found = certifier.certify(*arguments)
        in_two_goes = certifier.certify(*arguments, first=[2, 5])
        np.testing.assert_array_equal(in_two_goes.lists_TQN, found.lists_TQN)
        np.testing.assert_array_equal(in_two_goes.strongest_TQN >= 0, found.strongest_TQN >= 0)
        assert found.unknown == 0 and (found.exact_TL.all() or not exact)
        for place, radius in enumerate(RADII):
            entrants_QN = np.zeros((3, 2), dtype=int)
            for row, text in enumerate(texts):
                changed = list(variants(text, substitutions.sites(text), radius))[int(by_listing) :]
                if changed:
                    highest_Q = (queries_QD @ embed(changed).T).numpy().max(axis=1)
                    outside_QN = ranks_QL[:, row, None] >= np.array(KS)
                    entrants_QN += (highest_Q[:, None] >= edges_QN - 1e-6) & outside_QN
            assert (found.entrants_TQN[place] >= entrants_QN).all()
            proved += found.lists_TQN[place].sum()
            if exact:
                np.testing.assert_array_equal(found.lists_TQN[place], entrants_QN == 0)
                for query, column in np.argwhere(entrants_QN > 0).tolist():
                    row = int(found.strongest_TQN[place, query, column])
                    edge = float(edges_QN[query, column])
                    attacked = certifier.attack(row, place, queries_QD[query], edge)
                    assert float(embed([attacked])[0] @ queries_QD[query]) >= edge - 1e-5
    assert proved > 0


def test_labels_without_a_sum_count_as_entrants():
    generator, texts, encoder, substitutions = toy("tfidf", 1)
    embed = lambda some: embed_texts(encoder, some, "label")  # noqa: E731
    certifier = LabelCertifier(None, substitutions, texts, embed, (0,), listed=1)
    queries_QD = torch.from_numpy(generator.normal(size=(1, 4)).astype("f4"))
    found = certifier.certify(queries_QD, np.array([[1e9]]), lambda row: np.array([row]), (1,))
    with_sites = [row for row, text in enumerate(texts) if substitutions.sites(text)]
    assert found.unknown == sum(row >= 1 for row in with_sites) > 0
    assert found.entrants_TQN[0, 0, 0] == sum(row >= 1 for row in with_sites)
    with pytest.raises(NotCertifiedError):
        certifier.attack(with_sites[0], 0, queries_QD[0], 0.0)


def test_labels_that_may_become_too_long_for_their_norm_are_not_certified():
    """In float32 the norm of a vector of 1e20 is infinite, and the vector divided by it zero: its score is 0."""
    _, _, encoder, _ = toy("static", 0)
    tower = encoder.towers["label"]
    with torch.no_grad():
        for word, length in (("red", 1e17), ("blue", 1e20)):
            tower.table_FD[tower.tokenizer.encode(word).ids] = length  # one direction
    embed = lambda some: embed_texts(encoder, some, "label")  # noqa: E731
    query_1D = torch.full((1, 4), -0.5)
    assert (embed(["red", "blue"]) @ query_1D[0]).tolist() == [-1, 0]
    for texts, listed in ((additive_texts(encoder, "label"), 0), (None, 9)):
        certifier = LabelCertifier(texts, Substitutions({"red": ("blue",)}), ["red"], embed, (1,), listed=listed)
        found = certifier.certify(query_1D, np.array([[-0.5]]), lambda row: np.array([1]), (1,))
        assert found.entrants_TQN.tolist() == [[[1]]] and found.unknown == (texts is not None)


def test_a_text_that_ties_with_the_last_of_the_list_enters_however_long_its_vector():
    """A score near 0 of long vectors is a difference of large numbers: what float32 loses grows with their length."""
    embed = {"one": [1.1, 3.3, 7.7], "other": [2.0, 1.0, 1.0], "short": [-1e-5, -1e-5, 0.0]}
    long_LD = lambda some: 1e6 * torch.tensor([embed[text] for text in some])  # noqa: E731
    queries_QD = torch.tensor([[0.7, 0.7, -0.4]]) * (1 + 0.013 * torch.arange(50.0))[:, None]
    certifier = LabelCertifier(None, Substitutions({"other": ("one", "short")}), ["other", "one"], long_LD, (1,))
    scores_QN = (queries_QD.double() @ long_LD(["one"]).double().T).numpy()
    found = certifier.certify(queries_QD, scores_QN, lambda row: np.full(50, 1 - row), (1,))
    assert (found.entrants_TQN == 1).all(), "of equal scores the lower label row comes first"
