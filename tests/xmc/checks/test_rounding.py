"""Invariants: margins are four rounding bounds and what underflow takes, by the formula; too long ones are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_words import toy

from xmc.checks.additive import additive_texts
from xmc.checks.rounding import LabelNorms, NotCertifiedError, gap_margin, require_short, score_margins
from xmc.checks.worst_case import AdditiveWorst, ListedWorst
from xmc.checks.worst_gap import largest_shifts, summed_terms
from xmc.substitutions.word_sets import Substitutions


def by_formula(norm, largest, terms, scale):
    return 4.2 * ((terms + 8) * 2**-24 * norm * largest + terms * 2**-126 * (3 * terms * scale + norm + largest))


@pytest.mark.parametrize(("norm", "largest"), [(2.0, 3.0), (1e-30, 1e-30), (0.0, 0.0)])
def test_margins_are_those_of_the_formula(norm, largest):
    assert score_margins(norm, largest, terms=10) == pytest.approx(by_formula(norm, largest, 10, 1), abs=0)
    norms_Q = torch.tensor([norm, 1.0], dtype=torch.float64)
    for margin, size in zip(score_margins(norms_Q, largest, terms=7, scales=5.0).tolist(), (norm, 1.0), strict=True):
        assert margin == pytest.approx(by_formula(size, largest, 7, 5), abs=0)
    found = gap_margin(norm, LabelNorms(largest, 10.0), terms=10, divisor=2.0)
    assert found == pytest.approx(by_formula(norm, largest, 10, 3 * 11), abs=0)


def test_margins_grow_where_products_are_shortened(monkeypatch):
    monkeypatch.setattr("xmc.checks.rounding.float32_product_error", lambda: 0.01)
    assert score_margins(2.0, 3.0, terms=10) == pytest.approx(4.2 * 0.06, rel=0.01)


def test_what_is_longer_than_an_index_takes_is_refused():
    require_short()
    require_short(1e18, 0.0)
    for norms in ((1.0, 1.1e18), (float("nan"),), (float("inf"), 1.0)):
        with pytest.raises(NotCertifiedError, match="longer than 1e"):
            require_short(*norms)
    gap_margin(1e10, LabelNorms(1e17, 1e10), terms=1)
    for size, labels in ((2e18, LabelNorms(1, 1)), (1, LabelNorms(2e18, 2e18)), (1e12, LabelNorms(1e17, 1e10))):
        with pytest.raises(NotCertifiedError):  # the last: a map that makes queries 1e7 times as long
            gap_margin(size, labels, terms=1)


def test_each_radius_has_the_margin_of_its_longest_texts():
    _, _, encoder, _ = toy("static dot", 0)
    sites = Substitutions({"red": ("blue sea",), "old": ("boat",)}).sites("red old fish")
    edits, norms = additive_texts(encoder, "query").edits("red old fish", sites, 1), LabelNorms(5.0, 7.0)
    assert [edits.weight(radius) for radius in (1, 2, 0)] == [3 + 3, 3 + 6, 3 + 6], "tokens: the text, its edits"
    assert summed_terms(edits, 1) == (3 + 3) + 4 + 24 and summed_terms(edits, 0) == 6 + 4 + 24
    for scale in (1.0, 1e-37):
        some = replace(edits, vectors_FD=scale * edits.vectors_FD)
        worst = AdditiveWorst("red old fish", some, (1, 0), label_norms=norms)
        for margin, shift, radius in zip(worst.margins_T, largest_shifts(some, (1, 0)), (1, 0), strict=True):
            divisor, terms = some.weight(radius), summed_terms(some, radius)
            assert margin == gap_margin(some.size() + shift, norms, terms=terms, divisor=divisor)
    light = replace(edits.changes, weights=1e-9 * edits.changes.weights)
    long = replace(edits, base_BF=1e-9 * edits.base_BF, changes=light, vectors_FD=1e19 * edits.vectors_FD)
    with pytest.raises(NotCertifiedError):  # of a small weight: the texts are short, and a product may overflow
        AdditiveWorst("red old fish", long, (1, 0), label_norms=norms)
    lengths = {"red old fish": 1.0, "blue sea old fish": 2.0, "red boat fish": 3.0, "blue sea boat fish": 4.0}
    embed = lambda texts: torch.tensor([[0.0, lengths[text]] for text in texts])  # noqa: E731
    listed = ListedWorst("red old fish", sites, (1, 0), embed, label_norms=norms)
    assert listed.margins_T.tolist() == [gap_margin(longest, norms, terms=2) for longest in (3.0, 4.0)]
    assert np.allclose(listed.rises_T, [2.0, 3.0])
