"""Least squares with factors that are not negative, over a grid of the one parameter that is not linear."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HUBER = 1.345  # standard deviations beyond which a run counts less: 95 % as good as least squares where all is normal
NORMAL_MAD = 1.4826  # standard deviations a median absolute deviation is, of a normal distribution
ROBUST_ROUNDS = 10
EXACT = 1e-12


@dataclass(frozen=True)
class ProfileFit:
    """For each of S sets of targets: which grid row is best, the factors there, and the mean squared residual."""

    grid_rows_S: NDArray[np.int64]
    factors_SF: Array
    costs_S: Array


def fit_profile(designs_TRF: Array, targets_RS: Array, weights_R: Array) -> ProfileFit:
    """Minimise sum_R (weights (targets - design @ factors))^2 over factors >= 0 and the rows T of the grid, exactly.

    The least squares of every subset of the factors is solved, and the best of those without a negative one is the
    answer: every row of the grid is a start of its own, and none can end in a local minimum.

    Shapes: T grid rows, R runs, F factors (few), S sets of targets.

    >>> designs = np.stack([np.stack([np.ones(4), np.arange(4.0) ** power], axis=1) for power in (1, 2)])
    >>> fit = fit_profile(designs, np.array([[1.0], [3.0], [9.0], [19.0]]), np.ones(4))
    >>> fit.grid_rows_S.tolist(), fit.factors_SF.round(6).tolist()
    ([1], [[1.0, 2.0]])
    """
    sets = targets_RS.shape[1]
    factors = designs_TRF.shape[2]
    weighted_RS = targets_RS * weights_R[:, None]
    best = ProfileFit(np.zeros(sets, np.int64), np.zeros((sets, factors)), np.full(sets, np.inf))
    for subset in _subsets(factors):
        designs_TRC = designs_TRF[:, :, subset] * weights_R[:, None]
        solved_TCS = np.linalg.pinv(designs_TRC) @ weighted_RS
        costs_TS = ((weighted_RS - designs_TRC @ solved_TCS) ** 2).mean(axis=1)
        costs_TS[(solved_TCS < 0).any(axis=1)] = np.inf
        rows_S, all_S = costs_TS.argmin(axis=0), np.arange(sets)
        better_S = costs_TS[rows_S, all_S] < best.costs_S
        best.grid_rows_S[better_S], best.costs_S[better_S] = rows_S[better_S], costs_TS[rows_S, all_S][better_S]
        best.factors_SF[better_S] = 0.0
        best.factors_SF[np.ix_(better_S, subset)] = solved_TCS[rows_S, :, all_S][better_S]
    return best


def fit_robustly(designs_TRF: Array, targets_R: Array, weights_R: Array, *, noise: float) -> tuple[ProfileFit, Array]:
    """The same where a run may be an outlier: Huber's loss, by weights that are fitted in turn; (fit, those weights).

    `noise` is the least standard deviation of a weighted residual: below it no run counts as an outlier.

    Reference: Huber 1981, chapter 7.
    """
    trust_R = np.ones(len(targets_R))
    for _ in range(ROBUST_ROUNDS):
        fit = fit_profile(designs_TRF, targets_R[:, None], weights_R * np.sqrt(trust_R))
        fitted_R = designs_TRF[fit.grid_rows_S[0]] @ fit.factors_SF[0]
        residuals_R = np.abs(targets_R - fitted_R) * weights_R
        limit = HUBER * max(noise, NORMAL_MAD * float(np.median(residuals_R)))
        trusted_R = np.minimum(1.0, limit / np.maximum(residuals_R, EXACT))
        if np.allclose(trusted_R, trust_R, atol=1e-3):
            break
        trust_R = trusted_R
    return fit, trust_R


def _subsets(factors: int) -> list[list[int]]:
    return [list(chosen) for size in range(1, factors + 1) for chosen in combinations(range(factors), size)]
