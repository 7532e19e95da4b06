"""Ragged arrays: the elements of all rows in one array, row i having those from `offsets[i]` to `offsets[i + 1]`.

numpy is imported inside functions, since a list of plugins needs what uses these and must not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, Any]


def offsets_of(counts: ArrayLike) -> Array:
    """The offsets of rows with so many elements, (rows + 1,) int64.

    >>> offsets_of([2, 0, 1]).tolist()
    [0, 2, 2, 3]
    """
    import numpy as np

    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def kept_offsets(offsets: Array, stays: Array) -> Array:
    """The offsets once only the elements that are marked stay, int64.

    >>> import numpy as np
    >>> kept_offsets(np.array([0, 2, 2, 3]), np.array([False, True, True])).tolist()
    [0, 1, 1, 2]
    """
    return offsets_of(stays)[offsets]


def rows_of(offsets: Array) -> Array:
    """For each element the row that it is in, int64."""
    import numpy as np

    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def taken(offsets: Array, rows: Array) -> tuple[Array, Array]:
    """The offsets of some of the rows, and where each of their elements stands in the whole."""
    import numpy as np

    starts = offsets[rows]
    counts = offsets[1:][rows] - starts  # not np.diff, which would read the offsets of all rows
    own = offsets_of(counts)
    return own, np.repeat(starts - own[:-1], counts) + np.arange(own[-1])
