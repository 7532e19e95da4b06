"""The tfidf encoder's text as a sum with bounds: word counts and block lengths change with every substitution.

Within R substitutions a count can move by R at most, so the weight (1 + ln count) x idf that a word gains or loses lies
in an interval, and so does the length of a block. Both go into the lower model of `TextEdits`, which is then sound but
not complete; what an edit does to the length is charged to that edit (see `LengthSlopes`). With radius 1 the counts and
lengths after each edit are known, and the certificate of a query is exact where no pair of words may come or go twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from xmc.checks.additive import radius_of
from xmc.checks.block_changes import Block, Change
from xmc.checks.length_slopes import LengthSlopes
from xmc.checks.rounding import NotCertifiedError
from xmc.checks.text_edits import Edit, Group, TextEdits, arrange
from xmc.encode.encoder import Role
from xmc.encode.tfidf import TfidfEncoder
from xmc.encode.words import split_words
from xmc.errors import ConfigError
from xmc.substitutions.word_sets import Site

WORD = re.compile(r"[^\W_]+")  # what the encoder takes for a word, in lower case


class TfidfTexts:
    """A side of the tfidf encoder; see `AdditiveTexts`."""

    exact = False
    by_radius = True

    def __init__(self, encoder: TfidfEncoder, role: Role) -> None:
        self.bags = encoder.bags[role]
        self.table_FD: Tensor = encoder.module[role].detach()  # type: ignore[index]
        self.length = "norm" if encoder.similarity == "cosine" else "weights"
        self.role = role
        if role == "label" and (len(self.bags.vocabularies) > 1 or self.bags.options.constant):
            raise ConfigError("labels of several blocks have no certificate on the label side.")

    def edits(self, text: str, sites: Sequence[Site], radius: int) -> TextEdits:
        """See `AdditiveTexts.edits`."""
        words = [match.group().lower() for match in WORD.finditer(text)]
        if words != split_words(text):
            raise NotCertifiedError("its words differ in lower case, or where letters with marks are composed")
        place_of_start = {match.start(): place for place, match in enumerate(WORD.finditer(text))}
        allowed = radius_of(radius, len(sites))
        site_at = {place_of_start[site.start]: site for site in sites}
        position_at = {place_of_start[site.start]: position for position, site in enumerate(sites)}
        blocks = [
            Block(vocabulary, self.bags.idf_F, words[:end], site_at, allowed, unigrams, pairs)
            for vocabulary, end, unigrams, pairs in self._blocks(len(words))
        ]
        alone = len(words) if self.bags.options.pairs else self.bags.options.opening  # places that differ by more
        ways: dict[tuple[str, int], list[tuple[str, list[Change]]]] = {}  # than by their word
        key_of = {place: (words[place], place if place < alone else -1) for place in site_at}
        for place, key in key_of.items():
            if key not in ways:
                ways[key] = _all_changes(blocks, place, site_at[place])
        changes = {place: ways[key] for place, key in key_of.items()}
        ranges = [_length_range(block, number, changes.values(), allowed) for number, block in enumerate(blocks)]
        scale = math.sqrt(len(blocks))
        lengths = [tuple(scale * value for value in one) for one in ranges]
        if self.role == "label":
            lengths = [(1.0, 1.0, 1.0)]
        slopes: list[LengthSlopes | None] = [None] * len(lengths)
        if allowed > 1 and self.role == "query":
            slopes = [
                LengthSlopes.of(one, block.least_weight(), scale) for one, block in zip(ranges, blocks, strict=True)
            ]
        places: dict[tuple[str, int], list[int]] = {}
        for place, key in key_of.items():
            places.setdefault(key, []).append(position_at[place])
        alone_lengths = None  # one substitution: each edit has lengths of its own, and the base keeps its length
        if allowed == 1 and self.role == "query":
            alone_lengths = [(block.square(), block.least_weight(), scale) for block in blocks]
            lengths = [(length, length, length) for length, _, _ in lengths]
        first_sum = len(self.table_FD)
        groups = [
            _group(tuple(same), ways[key], _Lengths(lengths, alone_lengths, slopes, first_sum))
            for key, same in places.items()
        ]
        base: list[dict[int, float]] = [block.base() for block in blocks]
        if self.bags.options.constant:
            base.append({self.bags.feature_count - 1: 1.0})
            lengths.append((1.0, 1.0, 1.0))
            slopes.append(None)
        triples = [  # where the edits follow the length, the text's own sum keeps it
            (one[0], one[0], one[0]) if slope else (one[0], one[1], one[2])
            for one, slope in zip(lengths, slopes, strict=True)
        ]
        return arrange(sites, groups, base, self.table_FD, lengths=triples, weight_norms=ranges[0][1:])

    def weights(self, edits: TextEdits) -> Tensor:
        """The direction of the weights of the unchanged text: the norm of any text is at least its product with it."""
        base_F = edits.base_BF[0]
        length = float(base_F.norm())
        return base_F / length if length > 0 else base_F

    def _blocks(self, words: int) -> Iterator[tuple[dict[str, int], int, bool, bool]]:
        """Vocabulary, number of words, whether single words count, whether pairs count."""
        options, vocabularies = self.bags.options, self.bags.vocabularies
        yield vocabularies[0], words, True, options.pairs
        if options.opening:
            yield vocabularies[1], min(options.opening, words), True, False
            yield vocabularies[2], min(options.opening, words), False, True


def _group(sites: tuple[int, ...], ways: Sequence[tuple[str, list[Change]]], lengths: _Lengths) -> Group:
    edits = {}  # ways that come to the same once
    for substitute, parts in ways:
        edit = _edit(substitute, parts, lengths)
        edits[substitute, *edit.change.items(), *edit.spread.items()] = edit
    return Group(sites, tuple(edits.values()))


def _all_changes(blocks: Sequence[Block], place: int, site: Site) -> list[tuple[str, list[Change]]]:
    """Every way to change a site, as a substitute with its change of each block."""
    return [
        (substitute, list(parts))
        for substitute in site.substitutes
        for parts in product(*(block.changes(place, substitute) for block in blocks))
    ]


def _length_range(
    block: Block, number: int, changes: Iterable[list[tuple[str, list[Change]]]], allowed: int
) -> tuple[float, float, float]:
    """Length of a block, the shortest and the longest that it can become."""
    lows, highs = [], []
    for ways in changes:
        squares = [parts[number].square for _, parts in ways]
        lows.append(min((0.0, *(low for low, _ in squares))))
        highs.append(max((0.0, *(high for _, high in squares))))
    square = block.square()
    shortest = math.sqrt(max(0.0, square + sum(sorted(lows)[:allowed])))
    longest = math.sqrt(square + sum(sorted(highs, reverse=True)[:allowed]))
    least = block.least_weight()  # a block without a feature has the sum 0, whatever it is divided by
    shortest = max(shortest * (1 - 1e-9), min(least, math.sqrt(square) or least))
    length = math.sqrt(square) or shortest
    return length, min(shortest, length), max(longest * (1 + 1e-9), shortest, length)


@dataclass(frozen=True)
class _Lengths:
    """Length, shortest and longest of each block.

    `alone`, where it is given: the square of a block's length, its least positive weight and its scale, from which the
    lengths after one single edit follow. `slopes` are those of several edits. `first_sum` is the row of block 0's sum.
    """

    ranges: Sequence[Sequence[float]]
    alone: Sequence[tuple[float, float, float]] | None
    slopes: Sequence[LengthSlopes | None]
    first_sum: int

    def after(self, block: int, change: Change) -> tuple[float, float]:
        """Shortest and longest length of a block once it has changed."""
        if self.alone is None:
            return self.ranges[block][1], self.ranges[block][2]
        square, least, scale = self.alone[block]
        low, high = (math.sqrt(max(square + one, least * least)) for one in change.square)
        return scale * low, scale * high


def _edit(substitute: str, parts: Sequence[Change], lengths: _Lengths) -> Edit:
    """The lower model of an edit: y / length >= middle x y − half x |y| for every length of the block's range."""
    change: dict[int, float] = {}
    spread: dict[int, float] = {}

    def put(feature: int, low: float, high: float, shortest: float, longest: float) -> None:
        middle, half = (1 / shortest + 1 / longest) / 2, (1 / shortest - 1 / longest) / 2
        centre, room = (low + high) / 2, (high - low) / 2
        change[feature] = middle * centre
        if half or room:
            spread[feature] = middle * room + half * (abs(centre) + room)

    for block, part in enumerate(parts):
        if not part.weights:
            continue
        shortest, longest = lengths.after(block, part)
        for feature, (low, high) in part.weights.items():
            put(feature, low, high, shortest, longest)
        if lengths.alone is not None:  # what was there before is divided by another length now
            length = lengths.ranges[block][0]
            put(lengths.first_sum + block, 1 / longest - 1 / length, 1 / shortest - 1 / length, 1.0, 1.0)
        elif slope := lengths.slopes[block]:
            put(lengths.first_sum + block, *slope.range_of(part.square), 1.0, 1.0)
    return Edit(substitute, change, spread)
