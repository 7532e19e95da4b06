"""Invariants: bags kept from learning are bit for bit those made anew; no other list ever gets them; they go once."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.encode.learned_bags import LearnedBags
from xmc.encode.sparse_tfidf import SparseTfidfOptions
from xmc.encode.tfidf import TfidfOptions
from xmc.encode.word_bags import BlockOptions, WordBags

texts = st.lists(st.text("ab c,é", max_size=12), max_size=6)
options = st.builds(
    BlockOptions,
    opening=st.integers(0, 3),
    pairs=st.booleans(),
    minimum_count=st.integers(1, 2),
    constant=st.booleans(),
)


def assert_equal(bags, expected):
    for name in ("offsets", "ids", "weights"):
        got, wanted = getattr(bags, name), getattr(expected, name)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


@given(texts, texts, options)
def test_texts_that_begin_with_the_corpus_get_the_bags_that_are_made_anew(corpus, more, options):
    alone = WordBags.learn(corpus, options)
    for batch in (corpus, list(corpus), corpus + more, more, corpus[1:], [*corpus[:-1], "a b"]):
        learned = LearnedBags.learn(corpus, options)
        assert learned.bags.vocabularies == alone.vocabularies
        np.testing.assert_array_equal(learned.bags.idf_F, alone.idf_F)
        assert_equal(learned.transform(batch), alone.transform(batch))
        assert_equal(learned.transform(corpus), alone.transform(corpus))


def test_a_list_that_changed_since_gets_bags_of_what_it_holds_now():
    corpus = ["red fish", "blue fish"]
    learned = LearnedBags.learn(corpus, BlockOptions())
    corpus[0] = "blue blue"
    assert learned.transform(corpus).ids.tolist() == [0, 0, 1]


@pytest.mark.parametrize("asked", [["red fish", "blue fish"], ["another"]])
def test_after_one_call_nothing_is_kept(asked):
    learned = LearnedBags.learn(["red fish", "blue fish"], BlockOptions())
    kept = weakref.ref(learned._kept[1])
    learned.transform(asked)
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("build", [TfidfOptions(dimension=2, minimum_count=1), SparseTfidfOptions(minimum_count=1)])
def test_encoders_prepare_what_they_learned_from_as_any_other_texts(build):
    queries, labels = ["red fish", "blue fish swims", ""], ["fish", "red sea"]
    encoder = build.build(queries, labels, seed=0)
    for role, of_role in (("label", labels), ("query", queries)):
        assert_equal(encoder.prepare(of_role, role), encoder.prepare(list(of_role), role))
