"""Filters on the metadata of passages that are looked up: asked once of each value that there is, not of each passage.

They are asked of no value but those of passages that can still be in or out: behind a part of an `and` that lets a
passage through no more, its value is not looked at, as if each passage were asked in turn.
Shapes: L labels; a mask (L,) marks those that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from xmc.retrieve.metadata_column import Mask
    from xmc.retrieve.metadata_columns import MetadataColumns
    from xmc.values import Passage


@runtime_checkable
class LookedUp(Protocol):
    """A filter whose answers depend on metadata alone; filters of the same `name` give the same ones."""

    @property
    def name(self) -> str:
        """What it asks for."""

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage."""

    def kept(self, among_L: Mask, columns: MetadataColumns) -> Mask | None:
        """Those among these that the filter keeps; None where it cannot be looked up and each passage must be asked."""


@dataclass(frozen=True)
class Equals:
    """Every key of `wanted` is in the metadata with that value.

    >>> from xmc.values import Passage
    >>> Equals({"year": 2020})(Passage("a", "apple", {"year": 2020, "page": 3}))
    True
    """

    wanted: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The keys and values."""
        return repr(sorted(self.wanted.items(), key=repr))

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage."""
        there = passage.metadata
        return all(key in there and there[key] == value for key, value in self.wanted.items())

    def kept(self, among_L: Mask, columns: MetadataColumns) -> Mask | None:
        """Those among these that have all these values; None where one of them is none that JSON makes."""
        for key, value in self.wanted.items():
            column = columns.column(key)
            try:
                place = column.place(value)
            except TypeError:
                return None
            among_L = among_L & column.marks(column.places_N == place)
        return among_L


@dataclass(frozen=True)
class OneOf:
    """What stands under `key` is one of these values.

    >>> from xmc.values import Passage
    >>> OneOf("year", (2020, 2024))(Passage("a", "apple", {"year": 2020}))
    True
    """

    key: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The key and the values."""
        return f"{self.key!r} in {self.values!r}"

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage."""
        return self.key in passage.metadata and passage.metadata[self.key] in self.values

    def kept(self, among_L: Mask, columns: MetadataColumns) -> Mask | None:
        """Those among these that have one of the values; None where one of these is none that JSON makes."""
        column = columns.column(self.key)
        try:
            places = [column.place(value) for value in self.values]
        except TypeError:
            return None
        return among_L & column.at(places)


@dataclass(frozen=True)
class OfValue:
    """`holds` is true of what stands under `key`, which is None where nothing does; `written` says so as a dictionary.

    >>> from xmc.values import Passage
    >>> OfValue("year", lambda year: year is None or year > 2020, "year > 2020")(Passage("a", "apple", {"year": 2020}))
    False
    """

    key: str
    holds: Callable[[Any], bool]
    name: str
    written: Mapping[str, Any] | None = None

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage."""
        return self.holds(passage.metadata.get(self.key))

    def kept(self, among_L: Mask, columns: MetadataColumns) -> Mask:
        """Those among these with such a value."""
        column = columns.column(self.key)
        found_L = among_L & column.held(among_L[column.rows], self.holds)
        without_L = among_L & ~column.marks(True)
        return found_L | without_L if without_L.any() and self.holds(None) else found_L


@dataclass(frozen=True)
class Joined:
    """All of the `parts` keep a passage (`and`), or one of them does (`or`).

    >>> from xmc.values import Passage
    >>> Joined("or", (Equals({"year": 2020}), Equals({"page": 4})))(Passage("a", "apple", {"year": 2020, "page": 3}))
    True
    """

    by: Literal["and", "or"]
    parts: tuple[LookedUp, ...]

    @property
    def name(self) -> str:
        """The names of the parts."""
        return f"{self.by}({', '.join(part.name for part in self.parts)})"

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage."""
        judged = (part(passage) for part in self.parts)
        return all(judged) if self.by == "and" else any(judged)

    def kept(self, among_L: Mask, columns: MetadataColumns) -> Mask | None:
        """Those among these that all parts keep, or one does."""
        found_L, open_L = np.zeros_like(among_L), among_L
        for part in self.parts:
            these_L = part.kept(open_L, columns)
            if these_L is None:
                return None
            if self.by == "and":
                open_L = these_L
            else:
                found_L, open_L = found_L | these_L, open_L & ~these_L
        return open_L if self.by == "and" else found_L


@dataclass(frozen=True)
class Not:
    """The `part` does not keep a passage."""

    part: LookedUp

    @property
    def name(self) -> str:
        """The name of the part."""
        return f"not({self.part.name})"

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage."""
        return not self.part(passage)

    def kept(self, among_L: Mask, columns: MetadataColumns) -> Mask | None:
        """Those among these that the part does not keep."""
        these_L = self.part.kept(among_L, columns)
        return None if these_L is None else among_L & ~these_L
