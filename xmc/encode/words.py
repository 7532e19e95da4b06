"""Texts as numbers of their words: the one pass over the characters that everything else is counted from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

import numpy as np

from xmc.encode.encoder import IntArray
from xmc.ragged import offsets_of

WORD = re.compile(r"[^\W_]+")
WORDS_AT_ONCE = 2**20
# of the bytes of lower-cased UTF-8, those of ASCII that no word holds become blanks
_BLANKED = bytes(code if code > 127 or chr(code).isalnum() else ord(" ") for code in range(256))


def split_words(text: str) -> list[str]:
    """`WORD.findall(normalize("NFC", text).lower())`, in about half the time.

    Composed, since "é" may be one character or two, of which no word holds the second. A mark that nothing composes
    with, such as a vowel of Hindi, ends a word; `docs/decisions/0034-marks-end-words-of-tfidf.md` says why.

    >>> split_words("The RED_fish: naïve, n°1")
    ['the', 'red', 'fish', 'naïve', 'n', '1']
    """
    if not text.isascii():
        text = normalize("NFC", text)
    blanked = text.lower().encode("utf-8", "surrogatepass").translate(_BLANKED).decode("utf-8", "surrogatepass")
    words = blanked.split()
    if text.isascii():
        return words
    split, done = [], 0
    for place in [place for place, word in enumerate(words) if not word.isascii()]:
        split += words[done:place]
        split += WORD.findall(words[place])
        done = place + 1
    return split + words[done:]


@dataclass(frozen=True)
class NumberedWords:
    """The words of N texts in order: text i has `numbers[offsets[i]:offsets[i + 1]]`, -1 for an unknown word.

    Shapes: `offsets` (N + 1,) int64; `numbers` (T,) int32.
    """

    offsets: IntArray
    numbers: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1


class NewWords(dict[str, int]):
    """Numbers words 0, 1, 2, ... as they are first asked for.

    >>> numbers = NewWords()
    >>> [numbers[word] for word in ("red", "fish", "red")]
    [0, 1, 0]
    """

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


class KnownWords(dict[str, int]):
    """The numbers of known words; -1 for any other."""

    def __missing__(self, word: str) -> int:
        return -1


def number_words(texts: Sequence[str], numbers: Mapping[str, int]) -> Iterator[NumberedWords]:
    """The words of texts, piece by piece: each piece ends with the text that fills `WORDS_AT_ONCE`.

    >>> [piece.numbers.tolist() for piece in number_words(["red fish", "red sea"], NewWords())]
    [[0, 1, 0, 2]]
    """
    parts: list[np.ndarray[Any, Any]] = []
    total = 0
    for text in texts:
        words = split_words(text)
        parts.append(np.fromiter(map(numbers.__getitem__, words), np.int32, len(words)))
        total += len(words)
        if total >= WORDS_AT_ONCE:
            yield _piece(parts)
            parts, total = [], 0
    if parts:
        yield _piece(parts)


def _piece(parts: list[np.ndarray[Any, Any]]) -> NumberedWords:
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return NumberedWords(offsets_of(lengths), np.concatenate(parts))
