"""Invariants: the fit is the least squares over grid and non-negative factors (as scipy's nnls finds it, row by row);
many sets of targets are fitted as each alone; an outlier moves the robust fit little and is told."""

import numpy as np
import pytest
from scipy.optimize import nnls

from xmc.scale.profile_fit import fit_profile, fit_robustly

GRID = np.linspace(0.1, 2.0, 20)
PLACES = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0])
DESIGNS = np.stack([np.stack([np.ones(6), PLACES**-power, PLACES / 20], axis=1) for power in GRID])


@pytest.mark.parametrize("seed", range(5))
def test_equals_nnls_over_the_grid(seed):
    generator = np.random.default_rng(seed)
    targets, weights = generator.normal(1.0, 1.0, size=(6, 3)), generator.uniform(0.5, 2.0, 6)
    fit = fit_profile(DESIGNS, targets, weights)
    for column in range(3):
        oracle = [nnls(design * weights[:, None], targets[:, column] * weights) for design in DESIGNS]
        best = int(np.argmin([residual for _, residual in oracle]))
        assert fit.costs_S[column] == pytest.approx(oracle[best][1] ** 2 / 6)
        assert fit.factors_SF[column] == pytest.approx(oracle[best][0], abs=1e-9)
        alone = fit_profile(DESIGNS, targets[:, [column]], weights)
        assert alone.factors_SF[0] == pytest.approx(fit.factors_SF[column])


def test_exact_targets_are_recovered():
    fit = fit_profile(DESIGNS, (DESIGNS[7] @ [1.0, 2.0, 0.0])[:, None], np.ones(6))
    assert fit.grid_rows_S.tolist() == [7] and fit.factors_SF[0] == pytest.approx([1.0, 2.0, 0.0], abs=1e-9)


def test_an_outlier_counts_less():
    targets = DESIGNS[7] @ [1.0, 2.0, 0.0] * (1 + 0.002 * np.array([1, -1, 1, -1, 1, -1]))
    spoiled = targets * np.array([1, 1, 1, 1.3, 1, 1])
    plain = fit_profile(DESIGNS[[7]], spoiled[:, None], np.ones(6)).factors_SF[0]
    robust, trust = fit_robustly(DESIGNS[[7]], spoiled, np.ones(6), noise=0.002)
    assert trust.argmin() == 3 and trust[3] < 0.2
    assert np.abs(robust.factors_SF[0] - [1, 2, 0]).max() < 0.3 * np.abs(plain - [1, 2, 0]).max()
