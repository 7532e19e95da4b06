"""Words and pairs of neighbouring words of texts as integer keys: how many texts have one, which feature it is.

Keys: the number of a word; `first x 2^32 + second` for a pair. Shapes: T occurrences, K distinct keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xmc.encode.encoder import IntArray
from xmc.encode.words import NumberedWords
from xmc.ragged import rows_of


@dataclass(frozen=True)
class BlockOptions:
    """Which blocks a bag has besides its words; each block has vocabulary, weights and length of its own.

    `opening`: the words among the first so many, and the pairs of neighbours there (0 = none): where a text says what
    it is about. `pairs`: pairs of neighbouring words count as words. `minimum_count`: in how many texts a feature must
    occur. `constant`: a last feature that is 1 for every text, so that a table over the features holds a bias.
    """

    opening: int = 0
    pairs: bool = False
    minimum_count: int = 1
    constant: bool = False

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return 3 if self.opening else 1


@dataclass(frozen=True)
class Occurrences:
    """The known words, or known pairs, of one block: in which text, and which. Shapes: all (T,) int64."""

    block: int
    pairs: bool
    texts: IntArray
    keys: IntArray


def occurrences(words: NumberedWords, options: BlockOptions) -> Iterator[Occurrences]:
    """All words and pairs that the blocks have."""
    texts = rows_of(words.offsets)
    numbers = words.numbers.astype(np.int64)
    yield _words(0, texts, numbers)
    if options.pairs:
        yield _pairs(0, texts, numbers)
    if options.opening:
        opening = np.flatnonzero(np.arange(len(texts)) - words.offsets[texts] < options.opening)
        yield _words(1, texts[opening], numbers[opening])
        yield _pairs(2, texts[opening], numbers[opening])


def _words(block: int, texts: IntArray, numbers: IntArray) -> Occurrences:
    if numbers.min(initial=0) < 0:
        known = np.flatnonzero(numbers >= 0)
        texts, numbers = texts[known], numbers[known]
    return Occurrences(block, False, texts, numbers)


def _pairs(block: int, texts: IntArray, numbers: IntArray) -> Occurrences:
    known = numbers >= 0
    first = np.flatnonzero((texts[1:] == texts[:-1]) & known[1:] & known[:-1])
    return Occurrences(block, True, texts[first], (numbers[first] << 32) + numbers[first + 1])


class DocumentFrequencies:
    """In how many texts each key of one block occurs, added up piece by piece."""

    def __init__(self) -> None:
        self._parts: list[tuple[IntArray, IntArray]] = []

    def add(self, found: Occurrences) -> None:
        """Count the texts of a further piece."""
        if found.pairs:
            keys_K, columns = np.unique(found.keys, return_inverse=True)
        else:
            keys_K, columns = np.arange(int(found.keys.max(initial=-1)) + 1), found.keys
        width = max(1, len(keys_K))
        once = sorted_runs(found.texts * width + columns)[0]
        counts_K = np.bincount(once % width, minlength=len(keys_K))
        present = np.flatnonzero(counts_K)
        self._parts.append((keys_K[present], counts_K[present]))

    def at_least(self, minimum: int) -> tuple[IntArray, IntArray]:
        """The keys that so many texts have, ascending, and how many have each."""
        keys, counts = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        keys_K, places = np.unique(keys, return_inverse=True)
        counts_K = np.bincount(places, weights=counts, minlength=len(keys_K)).astype(np.int64)
        kept = np.flatnonzero(counts_K >= minimum)
        return keys_K[kept], counts_K[kept]


def spell(keys: IntArray, words: Sequence[str], *, pairs: bool) -> list[str]:
    """Keys as texts, the words of a pair separated by a blank.

    >>> spell(np.array([1, 2**32]), ["red", "fish"], pairs=True)
    ['red fish', 'fish red']
    """
    if not pairs:
        return [words[key] for key in keys.tolist()]
    return [f"{words[key >> 32]} {words[key & 0xFFFFFFFF]}" for key in keys.tolist()]


def words_of(vocabularies: Iterable[Iterable[str]]) -> dict[str, None]:
    """Every word of vocabularies of words and pairs, once."""
    return dict.fromkeys(word for keys in vocabularies for key in keys for word in key.split(" "))


class FeatureTable:
    """Finds the features of one vocabulary by their integer keys."""

    def __init__(self, vocabulary: Mapping[str, int], numbers: Mapping[str, int]) -> None:
        self._feature_of_word = np.full(len(numbers), -1, np.int64)
        pairs: list[tuple[int, int]] = []
        for text, feature in vocabulary.items():
            first, blank, second = text.partition(" ")
            if blank:
                pairs.append(((numbers[first] << 32) + numbers[second], feature))
            else:
                self._feature_of_word[numbers[first]] = feature
        self._pairs = np.array(sorted(pairs), np.int64).reshape(-1, 2)

    def find(self, found: Occurrences) -> IntArray:
        """The feature of each occurrence, (T,) int64; -1 for none."""
        if not found.pairs:
            return self._feature_of_word[found.keys]
        keys_K, features_K = self._pairs[:, 0], self._pairs[:, 1]
        if not len(keys_K):
            return np.full(len(found.keys), -1)
        places = np.minimum(np.searchsorted(keys_K, found.keys), len(keys_K) - 1)
        return np.where(keys_K[places] == found.keys, features_K[places], -1)


def sorted_runs(values_T: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct values, ascending, and how often each occurs.

    >>> [part.tolist() for part in sorted_runs(np.array([3, 1, 3]))]
    [[1, 3], [1, 2]]
    """
    if values_T.max(initial=0) < 2**31:  # as most are; half as wide sorts in half the time
        values_T = values_T.astype(np.int32)
    ordered_T = np.sort(values_T)
    starts = np.flatnonzero(np.concatenate((np.ones(min(1, len(ordered_T)), bool), ordered_T[1:] != ordered_T[:-1])))
    return ordered_T[starts].astype(np.int64), np.diff(starts, append=len(ordered_T))
