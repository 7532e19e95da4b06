"""Generalisation of a linear head along gradient flow, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mode_errors(
    eigenvalues_M: Array, times_T: Array, *, teacher_M: Array | float, noise: float, start: float = 0.0
) -> Array:
    """Expected squared error of each mode's weight at each time, (T, M), flowing down |y - X w|^2 / 2.

    (teacher + start) exp(-2 s t) + noise / s (1 - exp(-s t))^2, where y = X w + noise, s is an eigenvalue of X^T X,
    `teacher` the variance of the true weight, `start` that of the initial one. A mode with s = 0 stays where it is.

    Reference: Advani and Saxe 2017, equation 10.

    >>> mode_errors(np.array([0.0, 2.0]), np.array([0.0, np.inf]), teacher_M=3.0, noise=1.0).tolist()
    [[3.0, 3.0], [3.0, 0.5]]
    """
    with np.errstate(invalid="ignore"):  # 0 times infinity, of a frozen mode at the end of time
        decay_TM = np.exp(-np.where(eigenvalues_M > 0, eigenvalues_M * times_T[:, None], 0.0))
    learned_TM = (1.0 - decay_TM) ** 2 / np.where(eigenvalues_M > 0, eigenvalues_M, np.inf)
    return (teacher_M + start) * decay_TM**2 + noise * learned_TM


def generalisation_errors(
    eigenvalues_M: Array,
    times_T: Array,
    *,
    inputs_M: Array | float,
    teacher_M: Array | float,
    noise: float,
    start: float = 0.0,
) -> Array:
    """Expected squared error of a new answer at each time, (T,): modes by the variance of inputs along each, and noise.

    `inputs_M` is 1 for all where inputs have unit variance. Modes that the queries do not reach belong here too, with
    eigenvalue 0.
    """
    errors_TM = mode_errors(eigenvalues_M, times_T, teacher_M=teacher_M, noise=noise, start=start)
    return (errors_TM * inputs_M).sum(axis=1) + noise


def best_time(errors_T: Array, times_T: Array) -> float:
    """The time of the least error, between the grid's times by a parabola over their logarithms.

    >>> times = np.geomspace(0.1, 10, 50)
    >>> round(best_time(np.log(times / 2) ** 2, times), 6)
    2.0
    """
    row = int(np.argmin(errors_T))
    if row in (0, len(times_T) - 1):
        return float(times_T[row])
    places, values = np.log(times_T[row - 1 : row + 2]), errors_T[row - 1 : row + 2]
    curvature, slope, _ = np.polyfit(places - places[1], values, 2)
    shift = -slope / (2 * curvature) if curvature > 0 else 0.0
    return float(np.exp(places[1] + np.clip(shift, places[0] - places[1], places[2] - places[1])))


def time_grid(eigenvalues_M: Array, *, points: int = 200) -> Array:
    """Times from well before the fastest mode has learned to well after the slowest."""
    moving = eigenvalues_M[eigenvalues_M > 0]
    return np.geomspace(1e-3 / moving.max(), 1e2 / moving.min(), points)


def marchenko_pastur(values: Array, *, ratio: float) -> Array:
    """Density of the eigenvalues of X^T X / P for random inputs of unit variance, `ratio` being N / P.

    Between (1 - sqrt(ratio))^2 and (1 + sqrt(ratio))^2; a share 1 - 1 / ratio lies at 0 besides where N > P.

    Reference: Marchenko and Pastur 1967.
    """
    low, high = (1.0 - np.sqrt(ratio)) ** 2, (1.0 + np.sqrt(ratio)) ** 2
    inside = (values > low) & (values < high)
    safe = np.where(inside, values, 1.0)
    spread = np.sqrt(np.where(inside, (high - values) * (values - low), 0.0))
    return spread / (2.0 * np.pi * ratio * safe)
