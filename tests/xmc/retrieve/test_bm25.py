"""Invariants: a score is the formula, whatever else is asked; what was saved is the same; a label that came later is
scored by its text with the frequencies of the fit."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.api import RerankContext, RerankQueries, TextReranker
from xmc.encode.words import split_words
from xmc.retrieve import bm25 as module
from xmc.retrieve.bm25 import Bm25
from xmc.values import Hits, Positives

texts = st.lists(st.sampled_from(["red", "Fish", "blue", "sea,", "n°1", "42"]), max_size=6).map(" ".join)
NONE = Positives(np.array([0]), np.array([], np.int64), np.array([]))


def never():
    raise AssertionError("frequencies need no shortlist")


def fitted(label_texts, **options):
    context = RerankContext(RerankQueries([], None), NONE, never, label_texts)
    return Bm25(**options).fit(context, progress=lambda done, of: None)


def every_pair(queries, labels):
    rows = np.tile(np.arange(labels), len(queries))
    return Hits(np.arange(len(queries) + 1) * labels, rows, np.zeros(len(rows), np.float32))


def naive(query, label, corpus, *, k1=1.2, b=0.75):
    """The formula, word by word."""
    documents = [split_words(text) for text in corpus]
    mean = sum(map(len, documents)) / len(documents) or 1.0
    words, score = split_words(label), 0.0
    for word in split_words(query):
        having = sum(word in document for document in documents)
        if having:
            idf = log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            tf = words.count(word)
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(words) / mean)) if tf else 0.0
    return score


@given(st.lists(texts, min_size=1, max_size=5), st.lists(texts, min_size=1, max_size=4), st.booleans())
def test_is_the_formula(label_texts, queries, plain):
    options = {} if plain else {"k1": 0.0, "b": 1.0}
    found = fitted(label_texts, **options).scores(RerankQueries(queries, None), every_pair(queries, len(label_texts)))
    wanted = [naive(query, label, label_texts, **options) for query in queries for label in label_texts]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_score_depends_on_its_pair_alone(monkeypatch):
    label_texts = ["red fish", "blue fish of the sea", "", "42 red red red fish"]
    queries = ["red fish", "the 42 of the sea", "whale"]
    bm25, hits = fitted(label_texts), every_pair(queries, 4)
    assert isinstance(bm25, TextReranker)
    found = bm25.scores(RerankQueries(queries, None), hits)
    assert found[4 * 0 + 3] > found[4 * 0 + 1] > 0 and not found[8:].any() and not found[2::4].any()
    alone = [
        bm25.scores(RerankQueries([queries[row // 4]], None), Hits(np.array([0, 1]), np.array([row % 4]), np.zeros(1)))
        for row in range(12)
    ]
    assert np.concatenate(alone).tobytes() == found.tobytes()
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 3)
    assert bm25.scores(RerankQueries(queries, None), hits).tobytes() == found.tobytes()
    assert bm25.scores(RerankQueries([], None), every_pair([], 4)).tolist() == []


def test_what_was_saved_scores_the_same(tmp_path):
    bm25 = fitted(["red fish", "n°1 naïve", "blue"], b=0.5)
    bm25.save(tmp_path)
    queries = ["Naïve fish 1", "blue red whale"]
    asked = RerankQueries(queries, None), every_pair(queries, 3)
    assert Bm25(b=0.5).load(tmp_path).scores(*asked).tobytes() == bm25.scores(*asked).tobytes()


def test_labels_that_came_later_are_scored_by_their_texts(tmp_path):
    corpus, queries = ["red fish", "blue fish", "sea"], ["red whale sea", "fish"]
    now = ["sea", "red sea whale", "red fish"]  # one of them new, one gone, in another order
    later = fitted(corpus).for_labels(np.array([2, -1, 0]), now)
    found = later.scores(RerankQueries(queries, None), every_pair(queries, 3))
    np.testing.assert_allclose(found, [naive(query, label, corpus) for query in queries for label in now], rtol=1e-5)
    later.save(tmp_path)
    again = Bm25().load(tmp_path).for_labels(np.array([0, 1, 2]), now)
    assert again.scores(RerankQueries(queries, None), every_pair(queries, 3)).tobytes() == found.tobytes()


@pytest.mark.parametrize("options", [{"k1": -0.1}, {"k1": float("nan")}, {"b": 1.5}, {"b": -1.0}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Bm25(**options)
