"""The ranges of options, for `__post_init__` of the dataclass that holds them; NaN is in none of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

WIDEST = 65_536  # numbers of a vector; more is a slip, which would be found out later, for want of memory


def require_positive(options: object, *names: str) -> None:
    """Raises: ValueError when one of these fields is not a finite number above 0.

    >>> from types import SimpleNamespace
    >>> require_positive(SimpleNamespace(temperature=0.0), "temperature")
    Traceback (most recent call last):
    ValueError: temperature must be a finite number > 0, got 0.0
    """
    for name, value in _values(options, names):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number > 0, got {value:,}")


def require_at_least(least: float, options: object, *names: str) -> None:
    """Raises: ValueError when one of these fields is not a finite number of at least `least`."""
    for name, value in _values(options, names):
        if not least <= value < math.inf:
            kind = "" if isinstance(value, int) else "a finite number "
            raise ValueError(f"{name} must be {kind}>= {least:g}, got {value:,}")


def require_at_most(most: float, options: object, *names: str) -> None:
    """Raises: ValueError when one of these fields is above `most`.

    >>> from types import SimpleNamespace
    >>> require_at_most(100, SimpleNamespace(layers=2**62), "layers")
    Traceback (most recent call last):
    ValueError: layers must be at most 100, got 4,611,686,018,427,387,904
    """
    for name, value in _values(options, names):
        if not -math.inf < value <= most:
            raise ValueError(f"{name} must be at most {most:,}, got {value:,}")


def require_share(options: object, *names: str, whole: bool = True) -> None:
    """Raises: ValueError when one of these fields is not in [0, 1], or below 1 where the `whole` is too much."""
    for name, value in _values(options, names):
        if not 0 <= value <= 1 or (value == 1 and not whole):
            raise ValueError(f"{name} must lie in [0, 1{']' if whole else ')'}, got {value:,}")


def _values(options: object, names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, (int, float)):
            raise ValueError(f"{name} must be a number, got {value!r}")
        yield name, value
