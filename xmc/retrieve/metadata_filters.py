"""Filters on the metadata of passages that are looked up: asked once of each value that there is, not of each passage.

They are asked of no value but those of passages that can still be in or out: behind a part of an `and` that lets a
passage through no more, its value is not looked at, as if each passage were asked in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from xmc.retrieve.value_index import ValueIndex
    from xmc.values import Passage


@dataclass(frozen=True)
class Group:
    """Passages: those of these ids that something is kept beside, and with `bare` all beside which nothing is."""

    ids: set[str] | frozenset[str]
    bare: bool

    def __or__(self, other: Group) -> Group:
        return Group(self.ids | other.ids, self.bare or other.bare)

    def __sub__(self, other: Group) -> Group:
        return Group(self.ids - other.ids, self.bare and not other.bare)


@runtime_checkable
class LookedUp(Protocol):
    """A filter whose answers depend on metadata alone; filters of the same `name` give the same ones."""

    @property
    def name(self) -> str:
        """What it asks for."""

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage."""

    def kept(self, among: Group, values: ValueIndex) -> Group | None:
        """Those of a group that the filter keeps; None where it cannot be looked up and each passage must be asked."""


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

    def kept(self, among: Group, values: ValueIndex) -> Group | None:
        """Those of a group that have all these values; None where one of them is none that JSON makes."""
        if not self.wanted:
            return among
        ids = values.ids(self.wanted)
        return None if ids is None else Group(among.ids & set(ids), bare=False)


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

    def kept(self, among: Group, values: ValueIndex) -> Group | None:
        """Those of a group that have one of the values; None where one of these is none that JSON makes."""
        found: set[str] = set()
        for value in self.values:
            ids = values.ids({self.key: value})
            if ids is None:
                return None
            found.update(ids)
        return Group(among.ids & found, bare=False)


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

    def kept(self, among: Group, values: ValueIndex) -> Group:
        """Those of a group with such a value."""
        held: list[list[str]] = []
        others: list[list[str]] = []
        for value, ids in values.under(self.key):
            if not among.ids.isdisjoint(ids):
                (held if self.holds(value) else others).append(ids)
        found = among.ids.intersection(chain.from_iterable(held))
        out = among.ids.intersection(chain.from_iterable(others))
        is_some_without = among.bare or len(found) + len(out) < len(among.ids)
        if is_some_without and self.holds(None):
            return Group(among.ids - out, among.bare)
        return Group(found, bare=False)


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

    def kept(self, among: Group, values: ValueIndex) -> Group | None:
        """Those of a group that all parts keep, or one does."""
        found, open_yet = Group(frozenset(), bare=False), among
        for part in self.parts:
            these = part.kept(open_yet, values)
            if these is None:
                return None
            if self.by == "and":
                open_yet = these
            else:
                found, open_yet = found | these, open_yet - these
        return open_yet if self.by == "and" else found


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

    def kept(self, among: Group, values: ValueIndex) -> Group | None:
        """Those of a group that the part does not keep."""
        these = self.part.kept(among, values)
        return None if these is None else among - these
