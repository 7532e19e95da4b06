"""The tfidf encoder's text as a sum with bounds: word counts and block lengths change with every substitution.

Within R substitutions a count can move by R at most, so the weight (1 + ln count) x idf that a word gains or loses lies
in an interval, and so does the length of a block. Both go into the lower model of `TextEdits`, which is then sound but
not complete; what an edit does to the length is charged to that edit (see `LengthSlopes`). With radius 1 the counts and
lengths after each edit are known, and the certificate of a query is exact where no pair of words may come or go twice.
"""

from __future__ import annotations

import math
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
from xmc.encode.words import WORD, split_words
from xmc.errors import ConfigError
from xmc.substitutions.word_sets import Site


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
        words, places = _words_and_places(text, sites)
        allowed = radius_of(radius, len(sites))
        blocks = [
            Block(vocabulary, self.bags.idf_F, words[:end], dict(zip(places, sites, strict=True)), allowed, *counted)
            for vocabulary, end, *counted in self._blocks(len(words))
        ]
        alone = len(words) if self.bags.options.pairs else self.bags.options.opening  # places that differ by more
        keys = [(words[place], place if place < alone else -1) for place in places]  # than by their word
        ways: dict[tuple[str, int], list[tuple[str, list[Change]]]] = {}
        positions: dict[tuple[str, int], list[int]] = {}
        for position, key in enumerate(keys):
            positions.setdefault(key, []).append(position)
            if key not in ways:
                ways[key] = _all_changes(blocks, places[position], sites[position])
        changes = [ways[key] for key in keys]
        ranges = [_length_range(block, number, changes, allowed) for number, block in enumerate(blocks)]
        if self.role == "label":
            lengths = [_Length(1.0, 1.0, 1.0)]
        else:
            lengths = [_Length.of(block, one, len(blocks), allowed) for block, one in zip(blocks, ranges, strict=True)]
        groups = [_group(tuple(same), ways[key], lengths, len(self.table_FD)) for key, same in positions.items()]
        base = [block.base() for block in blocks]
        of_text = [length.of_text() for length in lengths]
        if self.bags.options.constant:
            base.append({self.bags.feature_count - 1: 1.0})
            of_text.append((1.0, 1.0, 1.0))
        return arrange(sites, groups, base, self.table_FD, lengths=of_text, weight_norms=ranges[0][1:])

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


def _words_and_places(text: str, sites: Sequence[Site]) -> tuple[list[str], list[int]]:
    """The words of the text in lower case, and which of them the sites are."""
    found = list(WORD.finditer(text))
    words = [match.group().lower() for match in found]
    if words != split_words(text):
        raise NotCertifiedError("its words differ in lower case, or where letters with marks are composed")
    place_of_start = {match.start(): place for place, match in enumerate(found)}
    return words, [place_of_start[site.start] for site in sites]


def _group(
    sites: tuple[int, ...], ways: Sequence[tuple[str, list[Change]]], lengths: Sequence[_Length], first_sum: int
) -> Group:
    edits = {}  # ways that come to the same once
    for substitute, parts in ways:
        edit = _edit(substitute, parts, lengths, first_sum)
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
class _Length:
    """What a block is divided by: in the text as it is, and the shortest and longest that it can become.

    Where the length follows the edits, the text's own sum keeps it, and each edit has a share in what becomes of that
    sum. `alone` is for one single edit: the square of the length, the least positive weight and the scale, from which
    the lengths after it follow. `slopes` are for several.
    """

    now: float
    shortest: float
    longest: float
    alone: tuple[float, float, float] | None = None
    slopes: LengthSlopes | None = None

    @classmethod
    def of(cls, block: Block, lengths: tuple[float, float, float], blocks: int, allowed: int) -> _Length:
        """That of a block whose `lengths` are as if it were the only one."""
        scale, least = math.sqrt(blocks), block.least_weight()
        alone = (block.square(), least, scale) if allowed == 1 else None
        slopes = LengthSlopes.of(lengths, least, scale) if allowed > 1 else None
        now, shortest, longest = (scale * length for length in lengths)
        return cls(now, shortest, longest, alone, slopes)

    def of_text(self) -> tuple[float, float, float]:
        """Length, shortest and longest for the sum of the unchanged text."""
        if self.alone or self.slopes:
            return self.now, self.now, self.now
        return self.now, self.shortest, self.longest

    def after(self, change: Change) -> tuple[float, float]:
        """Shortest and longest length of the block once it has changed."""
        if self.alone is None:
            return self.shortest, self.longest
        square, least, scale = self.alone
        low, high = (math.sqrt(max(square + one, least * least)) for one in change.square)
        return scale * low, scale * high

    def share_in_text(self, change: Change) -> tuple[float, float] | None:
        """What the edit adds to the weight 1 / `now` of the sum of the unchanged text; None where nothing follows."""
        if self.alone:
            shortest, longest = self.after(change)
            return 1 / longest - 1 / self.now, 1 / shortest - 1 / self.now
        return self.slopes.range_of(change.square) if self.slopes else None


def _edit(substitute: str, parts: Sequence[Change], lengths: Sequence[_Length], first_sum: int) -> Edit:
    """The lower model of an edit: y / length >= middle x y − half x |y| for every length of the block's range.

    `first_sum` is the feature of block 0's sum in the unchanged text.
    """
    change: dict[int, float] = {}
    spread: dict[int, float] = {}

    def put(feature: int, low: float, high: float, shortest: float, longest: float) -> None:
        middle, half = (1 / shortest + 1 / longest) / 2, (1 / shortest - 1 / longest) / 2
        centre, room = (low + high) / 2, (high - low) / 2
        change[feature] = middle * centre
        if half or room:
            spread[feature] = middle * room + half * (abs(centre) + room)

    for block, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        if not part.weights:
            continue
        shortest, longest = length.after(part)
        for feature, (low, high) in part.weights.items():
            put(feature, low, high, shortest, longest)
        if share := length.share_in_text(part):
            put(first_sum + block, *share, 1.0, 1.0)
    return Edit(substitute, change, spread)
