"""Invariants: ids are those of the tokenizer, whatever the text, the tokenizer and the words met before."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from xmc.encode import word_tokens
from xmc.encode.tokenizer import LONGEST_WORD, train_tokenizer
from xmc.encode.word_tokens import WordTokens, ascii_words, word_normalizer, word_splitter

TEXTS = ["Broken wrist, left arm", "broken ankle (right)", "Heart attack; heart failure", "Übelkeit und Schwindel"]
TOKENIZER = train_tokenizer(TEXTS, vocabulary_size=1000)
REMEMBERING = WordTokens(TOKENIZER)
characters = st.characters(codec="utf-8")  # what the tokenizer takes: no half of a surrogate pair
mixed = st.text(st.one_of(characters, st.characters(max_codepoint=127), st.sampled_from("broken wrist_ 2,")))


def naive(tokenizer, texts):
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def lists(ids_of_texts):
    assert all(ids.dtype == np.int64 for ids in ids_of_texts)
    return [ids.tolist() for ids in ids_of_texts]


@given(st.lists(mixed, max_size=5))
@example(["[UNK] broken\x00wrist\x1c\x1fleft\x7f", "", "x" * (LONGEST_WORD + 1), "Übelkeit broken", "ﬁ "])
def test_ids_are_those_of_the_tokenizer(texts):
    assert lists(REMEMBERING(texts)) == naive(TOKENIZER, texts)


@pytest.mark.parametrize("text", ["हिन्दी में किताबें", "தமிழ் மொழி", "العَرَبِيَّة", "q̌ x̱ẖ"])
def test_words_keep_their_marks(text):
    tokenizer = train_tokenizer([text], vocabulary_size=1000)
    assert [tokenizer.id_to_token(row) for row in WordTokens(tokenizer)([text])[0]] == text.split()


def test_words_are_those_of_the_tokenizer_beside_every_character():
    for code in range(128):
        text = f"{chr(code)} a{chr(code)}B"
        words = word_splitter().pre_tokenize_str(word_normalizer().normalize_str(text))
        assert [word.decode() for word in ascii_words(text)] == [word for word, _ in words], hex(code)


def test_a_memory_that_is_full_begins_anew(monkeypatch):
    monkeypatch.setattr(word_tokens, "MOST_WORDS", 3)
    tokens, texts = WordTokens(TOKENIZER), ["broken wrist", "left arm ankle", "heart", "broken heart attack right arm"]
    for text in [*texts, *texts]:
        assert lists(tokens([text])) == naive(TOKENIZER, [text])
        assert len(tokens._ids_of) <= 3


def bound(tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing("$A [UNK]", special_tokens=[("[UNK]", 0)])


def cut(tokenizer):
    tokenizer.enable_truncation(2)


def with_a_phrase(tokenizer):
    tokenizer.add_tokens(["heart attack"])


def with_letters(tokenizer):
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")


def with_capitals(tokenizer):
    tokenizer.normalizer = normalizers.NFKC()


@pytest.mark.parametrize("change", [bound, cut, with_a_phrase, with_letters, with_capitals])
def test_a_tokenizer_of_another_make_does_as_it_does(change):
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    change(tokenizer)
    tokens = WordTokens(tokenizer)
    assert tokens._ids_of is None
    assert lists(tokens(TEXTS)) == naive(tokenizer, TEXTS)


def test_so_does_one_without_parts():
    tokenizer = Tokenizer(models.WordLevel({"broken wrist": 0, "?": 1}, "?"))
    assert lists(WordTokens(tokenizer)(["broken wrist", "broken"])) == [[0], [1]]


def test_one_that_was_saved_is_known_again(tmp_path):
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    assert WordTokens(Tokenizer.from_file(str(tmp_path / "tokenizer.json")))._ids_of is not None
