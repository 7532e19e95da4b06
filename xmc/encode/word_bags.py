"""Texts as TF-IDF weighted bags of words, opening words and word pairs, over vocabularies learned from a corpus."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmc.encode.bags import Bags

WORD = re.compile(r"[^\W_]+")


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
        frequencies: list[Counter[str]] = []
        for text in texts:
            for block, counts in enumerate(_blocks(text, options)):
                if block == len(frequencies):
                    frequencies.append(Counter())
                frequencies[block].update(counts.keys())
        vocabularies, idf, start = [], [], 0
        for frequency in frequencies:
            kept = sorted(key for key, count in frequency.items() if count >= options.minimum_count)
            vocabularies.append({key: start + row for row, key in enumerate(kept)})
            idf.append(np.log((len(texts) + 1) / (np.array([frequency[key] for key in kept], dtype=np.float64) + 1)))
            start += len(kept)
        constant = np.ones(int(options.constant))
        return cls(options, vocabularies, np.concatenate([*idf, constant]).astype(np.float32))

    def transform(self, texts: Sequence[str]) -> Bags:
        """The bags of texts; unknown words and pairs are left out."""
        ids: list[np.ndarray[Any, Any]] = []
        weights: list[np.ndarray[Any, Any]] = []
        lengths = np.zeros(len(texts), np.int64)
        for row, text in enumerate(texts):
            for block_ids, block_weights in self._weighted_blocks(text):
                ids.append(block_ids)
                weights.append(block_weights)
                lengths[row] += len(block_ids)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        none = np.zeros(0, np.int32)
        return Bags(offsets, np.concatenate([none, *ids]), np.concatenate([none, *weights]).astype(np.float32))

    def _weighted_blocks(self, text: str) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        scale = 1 / np.sqrt(len(self.vocabularies))
        for vocabulary, counts in zip(self.vocabularies, _blocks(text, self.options), strict=True):
            found = {vocabulary[key]: count for key, count in counts.items() if key in vocabulary}
            ids = np.fromiter(found.keys(), np.int32, len(found))
            weights = (1 + np.log(np.fromiter(found.values(), np.float32, len(found)))) * self.idf_F[ids]
            length = np.sqrt((weights * weights).sum())
            order = np.argsort(ids)
            yield ids[order], weights[order] * (scale / length if length > 0 else 0.0)
        if self.options.constant:
            yield np.array([self.feature_count - 1], np.int32), np.ones(1, np.float32)

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


def _blocks(text: str, options: BlockOptions) -> list[Counter[str]]:
    """How often each feature of each block occurs in a text; always the same number of blocks."""
    words = WORD.findall(text.lower())
    blocks = [Counter(words)]
    if options.pairs:
        blocks[0].update(_pairs(words))
    if options.opening:
        opening = words[: options.opening]
        blocks += [Counter(opening), Counter(_pairs(opening))]
    return blocks


def _pairs(words: list[str]) -> Iterator[str]:
    return map(" ".join, itertools.pairwise(words))
