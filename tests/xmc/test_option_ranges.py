"""Invariants: the ends of a range belong to it as it says; NaN and infinity to none; the message says all three."""

import math
from functools import partial
from types import SimpleNamespace

import pytest

from xmc.option_ranges import require_at_least, require_at_most, require_positive, require_share


@pytest.mark.parametrize(
    ("require", "inside", "outside", "said"),
    [
        (require_positive, [5e-324, 1, 1e300], [0, 0.0, -1.0], "a finite number > 0"),
        (partial(require_at_least, 0), [0, 0.0, 3], [-5e-324], "a finite number >= 0"),
        (partial(require_at_least, 100), [100, 101], [99, -3], ">= 100"),
        (partial(require_at_most, 100), [-1, 0.0, 100], [101, 100.5], "at most 100"),
        (partial(require_at_least, 1e-3), [1e-3, 2.0], [0.9e-3], "a finite number >= 0.001"),
        (require_share, [0, 0.0, 0.5, 1, 1.0], [-0.1, 1.1, 2], r"in \[0, 1\]"),
        (partial(require_share, whole=False), [0, 0.5, 0.99], [-0.1, 1, 1.0, 1.1], r"in \[0, 1\)"),
    ],
)
def test_ranges(require, inside, outside, said):
    for value in inside:
        require(SimpleNamespace(first=inside[0], second=value), "first", "second")
    for value in outside:
        with pytest.raises(ValueError, match=rf"^second must (be|lie) {said}, got {value}$"):
            require(SimpleNamespace(first=inside[0], second=value), "first", "second")
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=r"^first must .*, got"):
            require(SimpleNamespace(first=value), "first")
    with pytest.raises(ValueError, match=r"^first must be a number, got 'much'$"):
        require(SimpleNamespace(first="much"), "first")
