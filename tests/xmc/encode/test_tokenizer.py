"""Invariants: the same texts give the same tokenizer; no word is unknown; n-grams are those of a naive count."""

import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.encode.tokenizer import (
    LONGEST_WORD,
    UNKNOWN,
    character_ngrams,
    package_vectors,
    train_tokenizer,
)
from xmc.errors import ConfigError

TEXTS = ["Broken wrist, left arm", "broken ankle (right)", "Heart attack; heart failure", "Übelkeit und Schwindel"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocabulary_size=1000)


def tokens(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).tokens


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
    assert train_tokenizer(list(TEXTS), vocabulary_size=1000).to_str() == tokenizer.to_str()
    assert train_tokenizer(TEXTS[::-1], vocabulary_size=1000).get_vocab() == tokenizer.get_vocab()


def test_another_process_gives_the_same_tokenizer(tokenizer):
    """The trainer's own tables are in random order, anew in each process."""
    call = f"train_tokenizer({TEXTS}, vocabulary_size=1000).to_str()"
    program = f"from xmc.encode.tokenizer import train_tokenizer; print({call})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == tokenizer.to_str()


def test_words_of_the_corpus_are_whole_lower_case_and_free_of_punctuation(tokenizer):
    assert tokens(tokenizer, "Heart-ATTACK, (left) wrist!") == ["heart", "attack", "left", "wrist"]
    assert tokens(tokenizer, "übelkeit") == ["übelkeit"]
    assert tokens(tokenizer, "?!, — ...") == []


def test_a_word_never_seen_becomes_known_pieces(tokenizer):
    pieces = tokens(tokenizer, "wristankle")
    assert len(pieces) > 1 and UNKNOWN not in pieces
    assert "".join(piece.removeprefix("##") for piece in pieces) == "wristankle"
    assert tokens(tokenizer, "日本") == [UNKNOWN]


def test_compatibility_forms_are_one_word(tokenizer):
    assert tokens(tokenizer, "ﬁ ｈｅａｒｔ") == tokens(tokenizer, "fi heart")


def test_the_vocabulary_is_bounded_and_keeps_the_most_frequent_words():
    words = [f"{a}{b}{c}q" for a in "abcdefghijklmno" for b in "klmnopqrst" for c in "uvwxyzabcdefghij"]
    corpus = [word for rank, word in enumerate(words) for _ in range(3 if rank < 700 else 1)]
    vocabulary = train_tokenizer(corpus, vocabulary_size=1200).get_vocab()
    assert len(vocabulary) == 1200
    kept = {word for word in words if word in vocabulary}
    frequent = set(words[:700])
    assert len(kept & frequent) / 700 > len(kept - frequent) / 1700
    assert sorted(vocabulary.values()) == list(range(1200))


def test_a_vocabulary_larger_than_any_makes_room_for_what_there_is_only():
    texts = ["fog at sea", "sea fog", "the fog"]
    vast, enough = (train_tokenizer(texts, vocabulary_size=size).get_vocab() for size in (2**62, 60_000))
    assert vast == enough


def naive_ngrams(tokens, shortest, longest):
    """For each token the set of its n-grams that at least two tokens have."""
    sets = []
    for token in tokens:
        bounded = token[2:] + ">" if token.startswith("##") else "<" + token + ">"
        found = set()
        for start in range(len(bounded)):
            for stop in range(start + 1, len(bounded) + 1):
                if shortest <= stop - start <= longest:
                    found.add(bounded[start:stop])
        sets.append(found)
    counts = Counter(ngram for found in sets for ngram in found)
    return [{ngram for ngram in found if counts[ngram] > 1} for found in sets]


@given(
    st.lists(st.text("abc", min_size=1, max_size=5), max_size=8, unique=True),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_character_ngrams_equal_the_naive_count(words, shortest, more):
    tokens = [*words, "##" + words[0]] if words else []
    expected = naive_ngrams(tokens, shortest, shortest + more)
    bags, features = character_ngrams(tokens, shortest=shortest, longest=shortest + more)
    names = sorted(set().union(*expected))
    assert features == len(tokens) + len(names)
    for row in range(len(tokens)):
        ids = bags.ids[bags.offsets[row] : bags.offsets[row + 1]].tolist()
        assert ids[0] == row and ids == sorted(ids)
        assert {names[i - len(tokens)] for i in ids[1:]} == expected[row]
    assert (bags.weights == 1).all()


def test_package_vectors_reads_wordllama_offline():
    tokenizer, table_VD = package_vectors("wordllama")
    assert table_VD.dtype == np.float32 and table_VD.shape[1] == 256
    assert table_VD.shape[0] >= tokenizer.get_vocab_size()


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("no_such_package_anywhere", r"package 'no_such_package_anywhere' is not installed\. Try: pip install"),
        ("hypothesis", "package 'hypothesis' holds no token vectors"),
        ("tomllib", "package 'tomllib' holds no token vectors"),
        ("no_such.package", "package 'no_such.package' is not installed"),
        ("this", "package 'this' is not installed"),
    ],
)
def test_a_package_without_vectors_is_a_configuration_error(package, message):
    with pytest.raises(ConfigError, match=message):
        package_vectors(package)


def test_words_that_are_too_long_to_be_known_teach_nothing_but_their_letters():
    long = "".join(random.Random(0).choices("acgtü", k=LONGEST_WORD + 1))
    texts = ["red fish", "tag a cat", long[:-1]]
    known, other = (train_tokenizer(some, vocabulary_size=2000) for some in (texts, [*texts, long, f"x{long}"]))
    assert known.encode(long[:-1]).tokens == [long[:-1]] and known.encode(long).tokens == [UNKNOWN]
    assert set(other.get_vocab()) - set(known.get_vocab()) == {"x"}
    assert train_tokenizer(["red", f"ж{long}"], vocabulary_size=2000).encode("ж").tokens == ["ж"]
