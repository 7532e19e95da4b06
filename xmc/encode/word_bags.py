"""Texts as TF-IDF weighted bags of words, opening words and word pairs, over vocabularies learned from a corpus."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xmc.encode.bags import Bags, concatenate
from xmc.encode.word_features import (
    BlockOptions,
    DocumentFrequencies,
    FeatureTable,
    occurrences,
    sorted_runs,
    spell,
    words_of,
)
from xmc.encode.words import WORD, KnownWords, NewWords, NumberedWords, number_words

__all__ = ["WORD", "BlockOptions", "WordBags"]


class WordBags:
    """Turns texts into bags: weight (1 + ln tf) x ln((N + 1) / (df + 1)), each block of length 1 / sqrt(blocks).

    >>> bags = WordBags.learn(["red fish", "blue fish", "red red sea"], BlockOptions())
    >>> bags.vocabularies[0], bags.transform(["red whale"]).ids.tolist()
    ({'blue': 0, 'fish': 1, 'red': 2, 'sea': 3}, [2])
    """

    def __init__(self, options: BlockOptions, vocabularies: list[dict[str, int]], idf_F: np.ndarray[Any, Any]) -> None:
        self.options = options
        self.vocabularies = vocabularies
        self.idf_F = idf_F

    @property
    def feature_count(self) -> int:
        """Number of features."""
        return len(self.idf_F)

    @classmethod
    def learn(cls, texts: Sequence[str], options: BlockOptions) -> WordBags:
        """Vocabularies and document frequencies of a corpus."""
        numbers = NewWords()
        return cls._learn(number_words(texts, numbers), numbers, options)

    @classmethod
    def learn_and_transform(cls, texts: Sequence[str], options: BlockOptions) -> tuple[WordBags, Bags]:
        """`learn` and the bags of the same texts, whose words are looked up only once.

        Meanwhile each word of the corpus takes 4 bytes.
        """
        numbers = NewWords()
        pieces = list(number_words(texts, numbers))
        learned = cls._learn(pieces, numbers, options)
        return learned, learned._weigh(pieces, learned._tables(numbers))

    @classmethod
    def _learn(cls, pieces: Iterable[NumberedWords], numbers: NewWords, options: BlockOptions) -> WordBags:
        frequencies: dict[tuple[int, bool], DocumentFrequencies] = defaultdict(DocumentFrequencies)
        texts = 0
        for piece in pieces:
            texts += len(piece)
            for found in occurrences(piece, options):
                frequencies[found.block, found.pairs].add(found)
        words = list(numbers)
        counts: list[dict[str, int]] = [{} for _ in range(options.blocks)]
        for (block, pairs), frequency in frequencies.items():
            keys, counts_K = frequency.at_least(options.minimum_count)
            counts[block].update(zip(spell(keys, words, pairs=pairs), counts_K.tolist(), strict=True))
        vocabularies, idf, start = [], [np.zeros(0)], 0
        for count in counts:
            kept = sorted(count)
            vocabularies.append({key: start + row for row, key in enumerate(kept)})
            idf.append(np.log((texts + 1) / (np.array([count[key] for key in kept], dtype=np.float64) + 1)))
            start += len(kept)
        constant = np.ones(int(options.constant))
        return cls(options, vocabularies, np.concatenate([*idf, constant]).astype(np.float32))

    def transform(self, texts: Sequence[str]) -> Bags:
        """The bags of texts; unknown words and pairs are left out."""
        return self._weigh(number_words(texts, self._known), self._known_tables)

    @cached_property
    def _known(self) -> KnownWords:
        return KnownWords({word: number for number, word in enumerate(words_of(self.vocabularies))})

    @cached_property
    def _known_tables(self) -> list[FeatureTable]:
        return self._tables(self._known)

    def _tables(self, numbers: dict[str, int]) -> list[FeatureTable]:
        return [FeatureTable(vocabulary, numbers) for vocabulary in self.vocabularies]

    def _weigh(self, pieces: Iterable[NumberedWords], tables: Sequence[FeatureTable]) -> Bags:
        none = Bags(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
        return concatenate([none, *(self._weigh_piece(piece, tables) for piece in pieces)])

    def _weigh_piece(self, words: NumberedWords, tables: Sequence[FeatureTable]) -> Bags:
        features, texts = self.feature_count, np.arange(len(words))
        entries = [texts * features + features - 1] if self.options.constant else []
        for found in occurrences(words, self.options):
            ids = tables[found.block].find(found)
            known = np.flatnonzero(ids >= 0)
            entries.append(found.texts[known] * features + ids[known])
        # features of a later block are larger numbers, so that one sort puts text, block and feature in order
        distinct, counts = sorted_runs(np.concatenate(entries))
        rows = distinct // max(1, features)
        ids = distinct - rows * features
        offsets = np.searchsorted(rows, np.arange(len(words) + 1))
        weights = (1 + np.log(counts)) * self.idf_F[ids]
        return Bags(offsets, ids.astype(np.int32), self._normalise(rows, ids, weights).astype(np.float32))

    def _normalise(self, rows: np.ndarray[Any, Any], ids: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> Any:
        """Each block of each text of length 1 / sqrt(blocks), the constant of length 1."""
        blocks = len(self.vocabularies)
        ends = np.cumsum([len(vocabulary) for vocabulary in self.vocabularies])
        scales = np.append(np.full(blocks, 1 / np.sqrt(blocks)), 1.0)
        block = np.searchsorted(ends, ids, side="right")
        place = rows * (blocks + 1) + block
        lengths = np.sqrt(np.bincount(place, weights * weights))[place]
        return np.where(lengths > 0, weights * scales[block] / np.where(lengths > 0, lengths, 1), 0)

    def save(self, path: Path) -> None:
        """Write options, vocabularies and weights as JSON (inside a folder that is not committed yet)."""
        body = {
            "options": asdict(self.options),
            "vocabularies": [list(vocabulary) for vocabulary in self.vocabularies],
            "idf": [float(value) for value in self.idf_F],
        }
        path.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> WordBags:
        """Read what `save` wrote."""
        body = json.loads(path.read_text(encoding="utf-8"))
        vocabularies, start = [], 0
        for keys in body["vocabularies"]:
            vocabularies.append({key: start + row for row, key in enumerate(keys)})
            start += len(keys)
        return cls(BlockOptions(**body["options"]), vocabularies, np.array(body["idf"], np.float32))
