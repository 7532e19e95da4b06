"""Least values of groups of edits, and the sums of the least of them.

Shapes: T radii, C candidates, W groups of sites, M edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def least_per_group(edit_values_MC: Floats, level_sizes: Sequence[int]) -> Floats:
    """The least value of the edits of each group, or 0 where every edit is worse than leaving the site alone, (W, C).

    >>> least_per_group(np.array([[1.0], [-1.0], [-2.0]]), (2, 1)).tolist()
    [[-2.0], [-1.0]]
    """
    if not level_sizes:
        return np.zeros((0, edit_values_MC.shape[1]))
    least_WC = np.minimum(edit_values_MC[: level_sizes[0]], 0.0)
    start = level_sizes[0]
    for size in level_sizes[1:]:
        np.minimum(least_WC[:size], edit_values_MC[start : start + size], out=least_WC[:size])
        start += size
    return least_WC


def sums_of_least(least_WC: Floats, counts_W: NDArray[np.int64], radii: Sequence[int]) -> Floats:
    """For each radius R the sum of the R least site values, every group counted as often as it has sites, (R, C).

    Radius 0 stands for all sites. `least_WC` are values of at most 0.

    >>> sums_of_least(np.array([[-1.0], [-3.0]]), np.array([2, 1]), [1, 2, 0]).ravel().tolist()
    [-3.0, -4.0, -5.0]
    """
    sums_RC = np.zeros((len(radii), least_WC.shape[1]))
    largest = max(radii, default=0)
    total = int(counts_W.sum())
    for row, radius in enumerate(radii):
        if radius == 0 or radius >= total:
            sums_RC[row] = counts_W.astype(np.float64) @ least_WC
    repeated_WC = np.repeat(least_WC, np.minimum(counts_W, largest), axis=0)
    columns = np.arange(least_WC.shape[1])
    so_far_C = np.zeros(least_WC.shape[1])
    for step in range(1, min(largest, total) + 1):
        chosen_C = repeated_WC.argmin(axis=0)
        so_far_C = so_far_C + repeated_WC[chosen_C, columns]
        repeated_WC[chosen_C, columns] = 0.0
        for row, radius in enumerate(radii):
            if radius == step:
                sums_RC[row] = so_far_C
    return sums_RC
