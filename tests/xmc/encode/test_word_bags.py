"""Invariants: weights are those of the formula, block by block; unknown words are left out; saved is the same."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.encode import words
from xmc.encode.word_bags import BlockOptions, WordBags

texts = st.lists(st.text("ab c,", max_size=12), min_size=1, max_size=6)
options = st.builds(
    BlockOptions,
    opening=st.integers(0, 3),
    pairs=st.booleans(),
    minimum_count=st.integers(1, 2),
    constant=st.booleans(),
)


def naive_blocks(text, options):
    """The features of each block of a text as lists, pairs written out."""
    words = re.findall(r"[^\W_]+", text.lower())
    pairs = [f"{words[i]} {words[i + 1]}" for i in range(len(words) - 1)]
    opening = words[: options.opening]
    opening_pairs = [f"{opening[i]} {opening[i + 1]}" for i in range(len(opening) - 1)]
    return [words + (pairs if options.pairs else []), *([opening, opening_pairs] if options.opening else [])]


def naive_bags(corpus, batch, options):
    """For each text {(block, feature): weight}, from the formula."""
    blocks = len(naive_blocks("", options))
    frequency = [Counter(f for text in corpus for f in set(naive_blocks(text, options)[b])) for b in range(blocks)]
    bags = []
    for text in batch:
        bag = {}
        for block, features in enumerate(naive_blocks(text, options)):
            counts = Counter(f for f in features if frequency[block][f] >= options.minimum_count)
            raw = {
                f: (1 + math.log(n)) * math.log((len(corpus) + 1) / (frequency[block][f] + 1))
                for f, n in counts.items()
            }
            length = math.sqrt(sum(w * w for w in raw.values()))
            bag |= {(block, f): (w / length / math.sqrt(blocks) if length else 0.0) for f, w in raw.items()}
        if options.constant:
            bag["constant"] = 1.0
        bags.append(bag)
    return bags


@given(texts, texts, options)
def test_weights_equal_the_formula(corpus, batch, options):
    learned = WordBags.learn(corpus, options)
    bags = learned.transform(batch)
    names = {row: (block, key) for block, words in enumerate(learned.vocabularies) for key, row in words.items()}
    assert sorted(names) == list(range(learned.feature_count - options.constant))
    if options.constant:
        names[learned.feature_count - 1] = "constant"
    for row, expected in enumerate(naive_bags(corpus, batch, options)):
        ids = bags.ids[bags.offsets[row] : bags.offsets[row + 1]].tolist()
        weights = bags.weights[bags.offsets[row] : bags.offsets[row + 1]].tolist()
        assert ids == sorted(set(ids))
        assert dict(zip([names[i] for i in ids], weights, strict=True)) == pytest.approx(expected, abs=1e-6)


@given(texts, options)
def test_saved_it_is_the_same(tmp_path_factory, corpus, options):
    path = tmp_path_factory.mktemp("bags") / "word_bags.json"
    learned = WordBags.learn(corpus, options)
    learned.save(path)
    loaded = WordBags.load(path)
    assert loaded.options == options and loaded.vocabularies == learned.vocabularies
    np.testing.assert_array_equal(loaded.idf_F, learned.idf_F)
    json.loads(path.read_text(encoding="utf-8"))


@given(texts, options, st.integers(1, 5))
def test_pieces_of_a_corpus_are_added_up_without_a_seam(corpus, options, at_once):
    whole, bags = WordBags.learn_and_transform(corpus, options)
    before, words.WORDS_AT_ONCE = words.WORDS_AT_ONCE, at_once
    try:
        learned, pieced = WordBags.learn_and_transform(corpus, options)
    finally:
        words.WORDS_AT_ONCE = before
    assert learned.vocabularies == whole.vocabularies
    np.testing.assert_array_equal(learned.idf_F, whole.idf_F)
    for name in ("offsets", "ids", "weights"):
        np.testing.assert_array_equal(getattr(pieced, name), getattr(bags, name))
        assert getattr(pieced, name).dtype == getattr(bags, name).dtype


def test_a_pair_needs_its_words_side_by_side():
    learned = WordBags.learn(["red fish", "red sea"], BlockOptions(pairs=True))
    assert learned.vocabularies == [{"fish": 0, "red": 1, "red fish": 2, "red sea": 3, "sea": 4}]
    assert learned.transform(["red whale fish"]).ids.tolist() == [0, 1]


def test_a_corpus_of_no_texts_has_no_features():
    learned, bags = WordBags.learn_and_transform([], BlockOptions(opening=2, pairs=True))
    assert learned.feature_count == 0 and learned.vocabularies == [{}, {}, {}] and len(bags) == 0
    assert learned.transform(["red"]).offsets.tolist() == [0, 0]


def test_unknown_words_and_empty_texts_have_empty_bags():
    learned = WordBags.learn(["red fish", "blue fish"], BlockOptions(pairs=True))
    assert learned.transform(["whale", "", "fish red"]).offsets.tolist() == [0, 0, 0, 2]
    assert len(learned.transform([])) == 0
