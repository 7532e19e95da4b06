"""Invariants: over every allowed edit of a toy text, the worst gap of the static encoder is the enumerated one and its
witness attains it; that of the tfidf encoder is never above it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from toy_words import some_text, toy, toy_encoder

from xmc.checks.additive import additive_texts
from xmc.checks.rounding import LabelNorms, NotCertifiedError
from xmc.checks.variants import variant_count, variants
from xmc.checks.worst_case import AdditiveWorst
from xmc.checks.worst_gap import largest_shifts, worst_gaps, worst_substitutions
from xmc.encode.encoder import embed_texts
from xmc.errors import ConfigError
from xmc.substitutions.word_sets import Substitutions, replaced

RADII = (1, 2, 3, 0)


def sums_of(encoder, kind, texts):
    """What the certificate speaks of: the static encoder's sum of token vectors, the tfidf encoder's embedding."""
    if not kind.startswith("static"):
        return embed_texts(encoder, texts, "query").double() if encoder.similarity == "dot" else None
    tower = encoder.towers["query"]
    table_VD = tower.token_vectors().double()
    return torch.stack([table_VD[tower.tokenizer.encode(text).ids].sum(dim=0) for text in texts])


@pytest.mark.parametrize("kind", ["static", "static dot", "tfidf", "tfidf without opening"])
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_worst_gaps_against_every_edit(kind, seed):
    generator, _, encoder, substitutions = toy(kind, seed)
    labels_CD = torch.from_numpy(generator.normal(size=(4, 4)))
    text = some_text(generator)
    sites = substitutions.sites(text)
    for radius in RADII:
        edits = additive_texts(encoder, "query").edits(text, sites, radius)
        texts = list(variants(text, sites, radius))
        assert len(texts) == variant_count(sites, radius)
        queries_VD = sums_of(encoder, kind, texts)
        np.testing.assert_allclose(edits.embedding().numpy(), queries_VD[0].numpy(), atol=1e-5)
        scores_VC = (queries_VD @ labels_CD.T).numpy()
        true_KC = (scores_VC[:, :2, None] - scores_VC[:, None, :]).min(axis=0)
        got_KC = worst_gaps(edits, labels_CD, 2, [radius])[0]
        assert (got_KC <= true_KC + 1e-5).all()
        shift = torch.linalg.vector_norm(queries_VD - queries_VD[0], dim=1).max().item()
        if kind.startswith("static"):
            np.testing.assert_allclose(got_KC, true_KC, atol=1e-6)
            assert largest_shifts(edits, [radius])[0] >= shift - 1e-9
            witness = replaced(text, worst_substitutions(edits, labels_CD[0] - labels_CD[1], radius))
            assert scores_VC[texts.index(witness), 0] - scores_VC[texts.index(witness), 1] == pytest.approx(
                true_KC[0, 1]
            )


def check_bounds(encoder, text, substitutions, radius, seed):
    """No rewriting within the radius has a smaller gap, or lies farther from the text, than is said."""
    sites = substitutions.sites(text)
    labels_CD = torch.from_numpy(np.random.default_rng(seed).normal(size=(6, 4)))
    queries_VD = embed_texts(encoder, list(variants(text, sites, radius)), "query").double()
    scores_VC = (queries_VD @ labels_CD.T).numpy()
    edits = additive_texts(encoder, "query").edits(text, sites, radius)
    true_KC = (scores_VC[:, :2, None] - scores_VC[:, None, :]).min(axis=0)
    assert (worst_gaps(edits, labels_CD, 2, [radius])[0] <= true_KC + 1e-5).all()
    shift = torch.linalg.vector_norm(queries_VD - queries_VD[0], dim=1).max().item()
    assert AdditiveWorst(text, edits, [radius], label_norms=LabelNorms(1.0, 1.0)).rises_T[0] >= shift - 1e-6


def test_one_substitution_may_take_two_equal_pairs_away():
    text, substitutions = "red red red", Substitutions({"red": ("blue",)})
    for seed in range(6):
        check_bounds(toy_encoder("tfidf", [text, "blue red", "red blue"], seed), text, substitutions, 1, seed)


@pytest.mark.parametrize("text", ["red fish", "old red fish sea"])
def test_a_pair_of_which_both_words_change_is_charged_to_one_of_them(text):
    substitutions = Substitutions({"red": ("blue",), "fish": ("net",)})
    texts = list(variants(text, substitutions.sites(text), 2))
    for seed in range(6):
        check_bounds(toy_encoder("tfidf", texts, seed), text, substitutions, 2, seed)


def test_a_text_that_becomes_longer_counts_less_of_what_stays():
    """What an edit does to the length of the text is charged to the edit."""
    text, substitutions = "fish red red", Substitutions({"red": ("blue",)})
    for seed in range(8):
        encoder = toy_encoder("tfidf without opening", [*["red"] * 9, "fish", "blue", "sea", text], seed)
        check_bounds(encoder, text, substitutions, 2, seed)


def test_more_substitutions_are_never_better_for_the_defender():
    generator, _, encoder, substitutions = toy("static", 3)
    text = "red fish old boat red sea"
    labels_CD = torch.from_numpy(generator.normal(size=(5, 4)))
    edits = additive_texts(encoder, "query").edits(text, substitutions.sites(text), 0)
    gaps_TKC = worst_gaps(edits, labels_CD, 2, (1, 2, 3, 0))
    assert (np.diff(gaps_TKC, axis=0) <= 1e-12).all()


def test_no_site_leaves_the_gap_alone():
    generator, _, encoder, _ = toy("static", 4)
    labels_CD = torch.from_numpy(generator.normal(size=(3, 4)))
    edits = additive_texts(encoder, "query").edits("red sea", [], 0)
    scores_C = (labels_CD @ edits.embedding()).numpy()
    np.testing.assert_allclose(worst_gaps(edits, labels_CD, 1, (1, 0))[:, 0], [scores_C[0] - scores_C] * 2)


def test_texts_that_do_not_fall_apart_are_refused():
    _, _, static, substitutions = toy("static", 5)
    _, _, tfidf, _ = toy("tfidf", 5)
    with pytest.raises(NotCertifiedError):  # the accent joins the word before the tokenizer, not before the word list
        additive_texts(static, "query").edits("re\u0301d sea", substitutions.sites("re\u0301d sea"), 1)
    with pytest.raises(NotCertifiedError):
        additive_texts(tfidf, "query").edits("\u0130stanbul sea", [], 1)
    with pytest.raises(NotCertifiedError):
        additive_texts(tfidf, "query").edits("re\u0301d sea", substitutions.sites("re\u0301d sea"), 1)


def test_special_tokens_that_a_tokenizer_would_add_are_none_of_the_text():
    _, _, encoder, _ = toy("static", 0)
    plain = additive_texts(encoder, "query").edits("red sea", [], 0).embedding()
    encoder.towers["query"].tokenizer.post_processor = TemplateProcessing(
        single="fish $A", special_tokens=[("fish", 1)]
    )
    assert torch.equal(additive_texts(encoder, "query").edits("red sea", [], 0).embedding(), plain)


def test_an_encoder_without_a_sum_is_refused():
    with pytest.raises(ConfigError, match="not a sum over words"):
        additive_texts(object(), "query")


def test_upper_case_words_are_replaced_as_they_stand():
    _, _, encoder, _ = toy("static", 6)
    substitutions = Substitutions({"red": ("sea",)})
    edits = additive_texts(encoder, "query").edits("RED fish", substitutions.sites("RED fish"), 1)
    direction_D = torch.from_numpy(np.random.default_rng(0).normal(size=4))
    after = additive_texts(encoder, "query").edits("sea fish", [], 1).embedding() @ direction_D
    before = edits.embedding() @ direction_D
    gap = worst_gaps(edits, torch.stack([direction_D, torch.zeros(4)]), 1, [1])[0, 0, 1]
    assert gap == pytest.approx(min(before.item(), after.item()))
