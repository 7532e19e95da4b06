"""What replacing a word does to one block of a TF-IDF bag: intervals of feature weights and of the squared length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from xmc.checks.count_range import CountRange, Span, weight
from xmc.substitutions.word_sets import Site


@dataclass
class Change:
    """What one edit does to one block: intervals of feature weights and of the squared length."""

    weights: dict[int, Span] = field(default_factory=dict)
    square: Span = (0.0, 0.0)

    def add(self, feature: int, span: Span, square: Span) -> None:
        """Let a feature gain a weight within `span`, and the squared length something within `square`."""
        low, high = self.weights.get(feature, (0.0, 0.0))
        self.weights[feature] = (low + span[0], high + span[1])
        self.square = (self.square[0] + square[0], self.square[1] + square[1])

    def joined(self, other: Change) -> Change:
        """Both changes at once."""
        both = Change(dict(self.weights), self.square)
        for feature, span in other.weights.items():
            both.add(feature, span, (0.0, 0.0))
        both.square = (self.square[0] + other.square[0], self.square[1] + other.square[1])
        return both


class Block:
    """A block of a text: its features, how often they occur, and how many edits could move each count."""

    def __init__(
        self,
        vocabulary: dict[str, int],
        idf_F: np.ndarray[tuple[int], np.dtype[np.float32]],
        words: Sequence[str],
        site_at: dict[int, Site],
        radius: int,
        unigrams: bool,
        pairs: bool,
    ) -> None:
        self.vocabulary, self.idf_F, self.words = vocabulary, idf_F, words
        self.site_at, self.radius, self.unigrams, self.pairs = site_at, radius, unigrams, pairs
        self.counts: Counter[str] = Counter()
        removable: Counter[str] = Counter()
        addable: Counter[str] = Counter()
        for key, others in self._slots():
            self.counts[key] += 1
            removable[key] += bool(others)
            addable.update(others)
        self._ranges = {
            key: CountRange(self.counts[key], removable[key], addable[key], radius * (2 if " " in key else 1))
            for key in {*removable, *addable}
            if key in vocabulary
        }

    def choices(self, place: int) -> tuple[str, ...]:
        """The word at a place and what may replace it."""
        site = self.site_at.get(place)
        return (self.words[place], *(site.substitutes if site else ()))

    def base(self) -> dict[int, float]:
        """Weight of each feature of the unchanged text."""
        return {
            self.vocabulary[key]: weight(count) * float(self.idf_F[self.vocabulary[key]])
            for key, count in self.counts.items()
            if key in self.vocabulary
        }

    def square(self) -> float:
        """Squared length of the block of the unchanged text."""
        return sum(value * value for value in self.base().values())

    def least_weight(self) -> float:
        """The least positive weight that a feature of this text or of a changed one can have, 1 where there is none."""
        idfs = (float(self.idf_F[self.vocabulary[key]]) for key in self._ranges)
        fixed = (value for value in self.base().values())
        return min((value for value in (*idfs, *fixed) if value > 0), default=1.0)

    def changes(self, place: int, substitute: str) -> list[Change]:
        """The ways in which replacing one word may change the block, over what may happen to its neighbours."""
        if place >= len(self.words):
            return [Change()]
        word, single = self.words[place], Change()
        if self.unigrams:
            self._move(single, word, substitute)
        if not self.pairs:
            return [single]
        return [single.joined(pair) for pair in self._pair_changes(place, substitute)]

    def _pair_changes(self, place: int, substitute: str) -> Iterator[Change]:
        word, together = self.words[place], self.radius > 1
        # a pair whose two words change is charged to its left word, so the right one may be free of charge
        lefts: list[tuple[str, str] | None] = [None]
        if place > 0:
            before = self.words[place - 1]
            free = together and place - 1 in self.site_at
            lefts = [(f"{before} {word}", f"{before} {substitute}"), *([None] if free else [])]
        rights: list[tuple[str, str] | None] = [None]
        if place + 1 < len(self.words):
            afters = self.choices(place + 1) if together else self.choices(place + 1)[:1]
            rights = [(f"{word} {afters[0]}", f"{substitute} {after}") for after in afters]
        for left, right in product(lefts, rights):
            change = Change()
            for pair in (left, right):
                if pair:
                    self._move(change, *pair)
            yield change

    def _move(self, change: Change, old: str, new: str) -> None:
        for key, sign in ((old, -1), (new, 1)):
            if key in self.vocabulary and old != new:
                idf = float(self.idf_F[self.vocabulary[key]])
                span, square = self._ranges[key].gain if sign > 0 else self._ranges[key].loss
                change.add(
                    self.vocabulary[key],
                    (span[0] * idf, span[1] * idf),
                    (square[0] * idf * idf, square[1] * idf * idf),
                )

    def _slots(self) -> Iterator[tuple[str, set[str]]]:
        """Each place or pair of places: its feature, and the features that edits can put there instead."""
        for place in range(len(self.words)) if self.unigrams else ():
            yield self.words[place], set(self.choices(place)[1:])
        for place in range(len(self.words) - 1) if self.pairs else ():
            left, right = self.choices(place), self.choices(place + 1)
            here = f"{left[0]} {right[0]}"
            pairs = {f"{a} {b}" for a in left for b in right if self.radius > 1 or a == left[0] or b == right[0]}
            yield here, pairs - {here}
