"""Invariants: runs are those of a counter whatever the width of the numbers; frequencies add up over pieces."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xmc.encode.word_features import BlockOptions, DocumentFrequencies, occurrences, sorted_runs, spell
from xmc.encode.words import NewWords, NumberedWords, number_words

numbers = st.one_of(st.integers(0, 5), st.integers(2**31 - 2, 2**31 + 2), st.integers(2**62, 2**62 + 2))


@given(st.lists(numbers, max_size=20))
def test_runs_are_those_of_a_counter_and_the_input_stays(values):
    given_T = np.array(values, np.int64)
    distinct, counts = sorted_runs(given_T)
    assert dict(zip(distinct.tolist(), counts.tolist(), strict=True)) == Counter(values)
    assert distinct.tolist() == sorted(set(values)) and distinct.dtype == np.int64
    assert given_T.tolist() == values


@given(st.lists(st.text("ab ", max_size=8), max_size=5), st.lists(st.text("ab ", max_size=8), max_size=5))
def test_frequencies_are_the_number_of_texts_of_all_pieces(first, second):
    known, frequencies = NewWords(), DocumentFrequencies()
    for texts in (first, second):
        for piece in number_words(texts, known):
            for found in occurrences(piece, BlockOptions(pairs=True)):
                if found.pairs:
                    frequencies.add(found)
    expected = Counter(
        pair for text in (*first, *second) for pair in {*zip(text.split(), text.split()[1:], strict=False)}
    )
    if first or second:
        keys, counts = frequencies.at_least(2)
        got = dict(zip(spell(keys, list(known), pairs=True), counts.tolist(), strict=True))
        assert got == {" ".join(pair): count for pair, count in expected.items() if count >= 2}


def test_a_pair_of_the_largest_numbers_is_a_key_of_its_own():
    largest = 2**31 - 1
    words = NumberedWords(np.array([0, 3]), np.array([largest, largest, 0], np.int32))
    _, pairs = occurrences(words, BlockOptions(pairs=True))
    assert pairs.keys.tolist() == [(largest << 32) + largest, largest << 32]
