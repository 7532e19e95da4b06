"""One key of the metadata of labels as a column: which label rows have it, and which of its values each of them has.

Shapes: L labels, N of them with the key, V different values under it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
NUMBER, TEXT, OTHER = range(3)


@dataclass(frozen=True, eq=False)
class Column:
    """`places_N` are places in `values`, where numbers ascend first, then texts; `rows` ascend, all rows as a slice.

    So what is equal to a value, below or above it is a range of places. `stops` are where numbers and texts end;
    `others` has the places of all else, by `comparable`. Values are equal as in Python: 1, 1.0 and true are the same.
    """

    labels: int
    rows: NDArray[np.int32] | slice
    places_N: NDArray[np.int32]
    values: Sequence[Any]
    stops: tuple[int, int, int]
    others: Mapping[Hashable, int]

    @classmethod
    def of(cls, places_L: NDArray[np.int32], values: Sequence[Any]) -> Column:
        """Of the place in `values` of each label's value, -1 for none, in any order; values of no label are dropped.

        >>> column = Column.of(np.array([1, -1, 2, 1], np.int32), ["gone", "b", 3])
        >>> column.values, column.rows.tolist(), column.places_N.tolist()
        ([3, 'b'], [0, 2, 3], [1, 0, 1])
        """
        used = np.flatnonzero(np.bincount(places_L + 1, minlength=len(values) + 1)[1:]).tolist()
        by_kind: tuple[list[int], list[int], list[int]] = [], [], []
        for place in used:
            by_kind[kind_of(values[place])].append(place)
        for kind in (NUMBER, TEXT):
            by_kind[kind].sort(key=values.__getitem__)
        order = [place for places in by_kind for place in places]
        new_places = np.full(len(values) + 1, -1, np.int32)  # the last one is for -1, no value
        new_places[order] = np.arange(len(order), dtype=np.int32)
        places_L = new_places[places_L]
        numbers, texts = len(by_kind[NUMBER]), len(by_kind[TEXT])
        others = {comparable(values[place]): new for new, place in enumerate(by_kind[OTHER], start=numbers + texts)}
        rows_N = np.flatnonzero(places_L >= 0).astype(np.int32)
        rows = slice(None) if len(rows_N) == len(places_L) else rows_N
        stops = (numbers, numbers + texts, len(order))
        return cls(len(places_L), rows, places_L[rows], [values[place] for place in order], stops, others)

    def place(self, value: Any) -> int:
        """The place of the value that is equal, -1 for none. Raises: TypeError for what is no value of JSON."""
        known = comparable(value)
        if (kind := kind_of(value)) == OTHER:
            return self.others.get(known, -1)
        place = self.first(value, kind)
        return place if place < self.stops[kind] and self.values[place] == value else -1

    def first(self, value: Any, kind: int, *, after: bool = False) -> int:
        """The first place of this kind with a value of at least this one, or `after` it."""
        find = bisect_right if after else bisect_left
        return find(self.values, value, self.start(kind), self.stops[kind])

    def start(self, kind: int) -> int:
        """The first place of a kind."""
        return self.stops[kind - 1] if kind else 0

    def places_L(self) -> NDArray[np.int32]:
        """The place of each label's value, -1 for none."""
        places_L = np.full(self.labels, -1, np.int32)
        places_L[self.rows] = self.places_N
        return places_L

    def marks(self, marked_N: Mask | bool) -> Mask:
        """Labels with the key that are marked, of all labels."""
        marked_L = np.zeros(self.labels, dtype=bool)
        marked_L[self.rows] = marked_N
        return marked_L

    def at(self, places: Sequence[int]) -> Mask:
        """The labels with a value at one of these places, of which -1 is none."""
        at_V = np.zeros(len(self.values) + 1, dtype=bool)
        at_V[list(places)] = True
        at_V[-1] = False
        return self.marks(at_V[self.places_N])

    def held(self, asked_N: Mask, holds: Callable[[Any], bool]) -> Mask:
        """The labels of those that are `asked` whose value holds; each value is asked once."""
        there_V = np.zeros(len(self.values), dtype=bool)
        there_V[self.places_N[asked_N]] = True
        held = [place for place in np.flatnonzero(there_V).tolist() if holds(self.values[place])]
        return self.at(held)


def kind_of(value: Any) -> int:
    """Which values it is ordered among: numbers (true and false are such), texts, or none.

    >>> kind_of(1.5), kind_of("a"), kind_of(None)
    (0, 1, 2)
    """
    if isinstance(value, str):
        return TEXT
    return NUMBER if isinstance(value, int | float) and value == value else OTHER


def comparable(value: Any) -> Hashable:
    """Something to look up that is equal exactly where the values are.

    Raises: TypeError for what is none of the values of JSON.

    >>> comparable({"a": [1]}) == comparable({"a": [1.0]}), comparable([1]) == comparable({"a": 1})
    (True, False)
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if type(value) is list:
        return ("list", tuple(comparable(each) for each in value))
    if type(value) is dict:
        return ("object", frozenset((key, comparable(each)) for key, each in value.items()))
    raise TypeError(f"{type(value).__name__} is no value of JSON")
