"""Numbers and truths as callers give them, in Python's types or those of numpy and torch; Python's from here on."""

from __future__ import annotations

import operator
from typing import Any

from xmc.errors import ConfigError


def whole_number(value: Any, *, name: str, least: int | None = None) -> int:
    """A whole number as an `int`: whatever has `__index__`, but neither true nor false; `name` is the option's.

    Raises: ConfigError for anything else, 3.0 included, and for less than `least`.

    >>> import numpy as np
    >>> whole_number(np.int64(3), name="k")
    3
    >>> whole_number(3.0, name="k")
    Traceback (most recent call last):
    xmc.errors.ConfigError: k must be a whole number, got 3.0.
    """
    try:
        number = None if is_truth(value) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ConfigError(f"{name} must be a whole number, got {value!r:.60}.")
    if least is not None and number < least:
        raise ConfigError(f"{name} must be {least:,} or more, got {number:,}.")
    return number


def any_number(value: Any, *, name: str) -> float:
    """A number as a `float`, or an `int` where it is whole by its type; neither true nor false, and no text.

    Raises: ConfigError for anything else.

    >>> import numpy as np
    >>> any_number(np.float32(0.5), name="alpha"), any_number(np.int8(1), name="alpha")
    (0.5, 1)
    """
    is_one = not is_truth(value) and not getattr(value, "ndim", 0)
    if is_one and hasattr(value, "__index__"):
        try:
            return operator.index(value)
        except TypeError:  # an array or tensor of a number that is not whole
            pass
    if is_one and hasattr(value, "__float__"):
        return float(value)
    raise ConfigError(f"{name} must be a number, got {value!r:.60}.")


def true_or_false(value: Any, *, name: str) -> bool:
    """A `bool`; neither a number nor a text, of which "no" would be taken for true, nor an array of several.

    Raises: ConfigError for anything else.

    >>> import numpy as np
    >>> true_or_false(np.True_, name="resume")
    True
    >>> true_or_false("no", name="resume")
    Traceback (most recent call last):
    xmc.errors.ConfigError: resume must be True or False, got 'no'.
    """
    if is_truth(value) and not getattr(value, "ndim", 0):
        return bool(value)
    raise ConfigError(f"{name} must be True or False, got {value!r:.60}.")


def is_truth(value: Any) -> bool:
    """Whether the value is true or false, in Python's type or that of numpy or torch."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
