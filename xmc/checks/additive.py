"""Encoders whose embedding is a sum over words, and that sum for a text with all of its allowed substitutions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from xmc.checks.rounding import NotCertifiedError
from xmc.checks.text_edits import Edit, Group, TextEdits, arrange
from xmc.encode.encoder import Role, Similarity
from xmc.encode.static import StaticEncoder
from xmc.encode.tfidf import TfidfEncoder
from xmc.errors import ConfigError
from xmc.substitutions.word_sets import Site

WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")


class AdditiveTexts(Protocol):
    """One side (queries or labels) of an additive encoder."""

    @property
    def exact(self) -> bool:
        """Whether what is not certified can be broken."""

    @property
    def by_radius(self) -> bool:
        """Whether `edits` differs from radius to radius."""

    @property
    def length(self) -> str:
        """What a label's sum is divided by: the "norm" of the sum, that of the "weights", or the number of "tokens"."""

    def edits(self, text: str, sites: Sequence[Site], radius: int) -> TextEdits:
        """The sum of a text and its changes, for at most `radius` substitutions (0 = all sites).

        The positive factor that divides the whole sum is left out: it does not change which label is before which.
        Raises: NotCertifiedError for a text that does not fall apart into its words.
        """

    def weights(self, edits: TextEdits) -> Tensor:
        """Of each feature, what it counts in the length that `length` names, (F,)."""


def additive_texts(encoder: Any, role: Role) -> AdditiveTexts:
    """The additive form of one side of an encoder.

    Raises: ConfigError for an encoder that has none.
    """
    from xmc.checks.tfidf_edits import TfidfTexts

    if isinstance(encoder, StaticEncoder):
        return StaticTexts.of(encoder, role)
    if isinstance(encoder, TfidfEncoder):
        return TfidfTexts(encoder, role)
    raise ConfigError(
        f"the encoder '{getattr(encoder, 'name', type(encoder).__name__)}' is not a sum over words, so no exact "
        "certificate is known for it.",
        hint="Use smoothing: samples=1000. The encoders 'static' and 'tfidf' have the exact one.",
    )


@dataclass(frozen=True, eq=False)
class StaticTexts:
    """A side of the static encoder: the sum of the vectors of the tokens.

    A replaced word takes its tokens out and puts its own in. That needs a tokenizer that splits words before it looks
    into them, which is checked for every text: the tokens of its words, one by one, must be the tokens of the text.
    """

    tokenizer: Any
    table_VD: Tensor
    similarity: Similarity
    exact: bool = True
    by_radius: bool = False
    _tokens: dict[str, list[int]] = field(default_factory=dict)
    _changes: dict[tuple[str, str], Edit] = field(default_factory=dict)

    @classmethod
    def of(cls, encoder: StaticEncoder, role: Role) -> StaticTexts:
        """The side of a trained encoder.

        Raises: ConfigError when its tokenizer does not split words first.
        """
        tower = encoder.towers[role]
        if tower.tokenizer.pre_tokenizer is None:
            raise ConfigError(
                "the encoder's tokenizer does not split a text into words first, so no exact certificate is known.",
                hint="Use smoothing: samples=1000.",
            )
        return cls(tower.tokenizer, tower.token_vectors(), encoder.similarity)

    @property
    def length(self) -> str:
        """Cosine divides by the norm, the mean by the number of tokens."""
        return "norm" if self.similarity == "cosine" else "tokens"

    def edits(self, text: str, sites: Sequence[Site], radius: int) -> TextEdits:
        """See `AdditiveTexts.edits`; the radius makes no difference."""
        base = Counter(self.tokenizer.encode(text, add_special_tokens=False).ids)
        self._check(text, base)
        places: dict[str, list[int]] = {}
        for position, site in enumerate(sites):  # by the word as it is written: the tokenizer may see upper case
            places.setdefault(text[site.start : site.stop], []).append(position)
        groups = [
            Group(tuple(positions), tuple(self._edit(word, other) for other in sites[positions[0]].substitutes))
            for word, positions in places.items()
        ]
        return arrange(sites, groups, [base], self.table_VD)

    def weights(self, edits: TextEdits) -> Tensor:
        """Every token counts once."""
        return edits.base_BF.new_ones(len(edits.rows_F))

    def _check(self, text: str, base: Counter[int]) -> None:
        apart: Counter[int] = Counter()
        for word, count in Counter(WORD_OR_SIGN.findall(text)).items():
            for token in self._ids(word):
                apart[token] += count
        if apart != base:
            raise NotCertifiedError("its words have other tokens one by one than together")

    def _edit(self, word: str, substitute: str) -> Edit:
        key = (word, substitute)
        if key not in self._changes:
            change = Counter(self._ids(substitute))
            change.subtract(self._ids(word))
            self._changes[key] = Edit(substitute, {token: float(n) for token, n in change.items() if n}, {})
        return self._changes[key]

    def _ids(self, word: str) -> list[int]:
        if word not in self._tokens:
            self._tokens[word] = self.tokenizer.encode(word, add_special_tokens=False).ids
        return self._tokens[word]


def radius_of(radius: int, sites: int) -> int:
    """The number of substitutions that a radius allows in a text with so many sites; 0 means all.

    >>> radius_of(0, 7), radius_of(3, 2)
    (7, 2)
    """
    return sites if radius == 0 else min(radius, sites)
