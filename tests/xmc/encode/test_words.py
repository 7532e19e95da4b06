"""Invariants: words are what the regular expression finds in lower case, letters composed; pieces end with texts and
leave no seam."""

import re
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xmc.encode import words as module
from xmc.encode.words import KnownWords, NewWords, number_words, split_words

WORD = re.compile(r"[^\W_]+")
mixed = st.text(st.one_of(st.characters(), st.characters(max_codepoint=127), st.sampled_from("aZ_0 -'\u2013é°İΣß\xa0")))


@given(mixed)
@example("ΟΔΟΣ, a_b\x1cc\x85d\u2028e\ud800f\x00g")
@example("e\u0301 İstanbul ② ½ n°1")
def test_words_are_those_of_the_regular_expression(text):
    assert split_words(text) == WORD.findall(normalize("NFC", text).lower())


@pytest.mark.parametrize("text", ["café naïve", "Ångström", "한국어", "Việt"])
def test_a_word_is_the_same_however_its_letters_are_written(text):
    assert split_words(normalize("NFD", text)) == split_words(text) == text.lower().split()


def test_a_mark_without_a_composed_letter_ends_a_word():
    assert split_words("हिन्दी q̌a ที่นี่") == [*"हनदqaทน"]


def test_every_character_alone_and_between_letters():
    for code in range(0x11000):
        text = f"{chr(code)} a{chr(code)}B"
        assert split_words(text) == WORD.findall(normalize("NFC", text).lower()), hex(code)


@given(st.lists(st.text("ab _", max_size=8), max_size=8), st.integers(1, 6))
def test_pieces_hold_all_texts_in_order(texts, at_once):
    before, module.WORDS_AT_ONCE = module.WORDS_AT_ONCE, at_once
    try:
        numbers = NewWords()
        pieces = list(number_words(texts, numbers))
    finally:
        module.WORDS_AT_ONCE = before
    names = list(numbers)
    got = [
        [names[number] for number in piece.numbers[start:stop].tolist()]
        for piece in pieces
        for start, stop in zip(piece.offsets[:-1], piece.offsets[1:], strict=True)
    ]
    assert got == [WORD.findall(text) for text in texts]
    assert all(piece.numbers.dtype == np.int32 and piece.offsets.dtype == np.int64 for piece in pieces)
    assert all(len(piece.numbers) >= at_once for piece in pieces[:-1])
    assert all(piece.offsets[-2] < at_once for piece in pieces), "the last text of a piece is the one that fills it"


def test_unknown_words_are_minus_one_and_stay_unknown():
    numbers = KnownWords({"red": 4})
    (piece,) = number_words(["blue red", ""], numbers)
    assert piece.numbers.tolist() == [-1, 4] and piece.offsets.tolist() == [0, 2, 2]
    assert numbers == {"red": 4}
