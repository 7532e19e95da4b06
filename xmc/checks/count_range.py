"""How the weight of a word changes with its count when a few substitutions may also have changed that count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

Span = tuple[float, float]


def weight(count: int) -> float:
    """1 + ln count, and 0 for a word that does not occur.

    >>> weight(0), weight(1)
    (0.0, 1.0)
    """
    return 1 + math.log(count) if count > 0 else 0.0


@dataclass(frozen=True)
class CountRange:
    """A word that occurs `count` times, at `removable` places that may lose it, and may come to `addable` others.

    At most `radius` of its occurrences change. Any change of the count is a chain of steps by one; a step's effect lies
    between the least and the greatest over the counts at which it may happen.
    """

    count: int
    removable: int
    addable: int
    radius: int

    @cached_property
    def loss(self) -> tuple[Span, Span]:
        """What one removal adds to the weight, and to its square: both as (least, greatest), at most 0.

        >>> CountRange(1, 1, 0, 3).loss
        ((-1.0, -1.0), (-1.0, -1.0))
        """
        first = max(1, self.count - min(self.radius, self.removable) + 1)
        (low, high), (low_square, high_square) = _steps(first, self.count + min(self.radius - 1, self.addable))
        return (-high, -low), (-high_square, -low_square)

    @cached_property
    def gain(self) -> tuple[Span, Span]:
        """What one addition adds to the weight, and to its square.

        >>> CountRange(0, 0, 1, 3).gain
        ((1.0, 1.0), (1.0, 1.0))
        """
        first = max(0, self.count - min(self.radius - 1, self.removable)) + 1
        return _steps(first, self.count + min(self.radius, self.addable))


@lru_cache(maxsize=4096)
def _steps(first: int, last: int) -> tuple[Span, Span]:
    """Least and greatest rise of the weight, and of its square, over the steps up to the counts `first` to `last`.

    The rise of the weight shrinks from step to step; that of the square is greatest at the second step.
    """
    last = max(first, last)
    ends = [weight(count) - weight(count - 1) for count in (last, first)]
    counts = (first, last, min(max(2, first), last))
    squares = [weight(count) ** 2 - weight(count - 1) ** 2 for count in counts]
    return (ends[0], ends[1]), (min(squares), max(squares))
