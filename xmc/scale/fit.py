"""Fit the laws to finished runs, and once more to each of many draws of their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xmc.scale.laws import FLOPS_A_PAIR, Array, ErrorLaw, SizeLaw
from xmc.scale.profile_fit import fit_profile, fit_robustly

ETAS = np.geomspace(0.01, 1.0, 160)
GAMMAS = np.geomspace(0.02, 20.0, 160)
LOSS_NOISE = 0.002  # relative: what the same training gives once more, at the very least
SAME_SIZE = 1.2  # runs whose parameters differ by less say nothing of what parameters bring


@dataclass(frozen=True)
class Scatter:
    """How far runs lie about a law: noise in units of `1 / weights_R`, its degrees of freedom, and each run's trust."""

    weights_R: Array
    noise: float
    freedom: int
    trust_R: Array

    def draw(self, fitted_R: Array, generator: np.random.Generator, *, samples: int) -> Array:
        """`samples` sets of values about the fitted ones, (R, S); the size of the noise is drawn as well."""
        shape = len(fitted_R), samples
        return fitted_R[:, None] + self.relative(generator, shape) / self.weights_R[:, None]

    def relative(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Noise in units of one weight; its size, known from few residuals, is another in each of the last axis."""
        sizes_S = self.noise * np.sqrt(self.freedom / generator.chisquare(self.freedom, shape[-1]))
        return generator.standard_normal(shape) * sizes_S


@dataclass(frozen=True)
class SizeFit:
    """A law of loss or error by size, and how far runs lie about it."""

    law: SizeLaw
    scatter: Scatter


@dataclass(frozen=True)
class ErrorFit:
    """The law of the error by the loss, and how far runs lie about it, in multiples of the noise of counting hits."""

    law: ErrorLaw
    scatter: Scatter


def fit_size(parameters_R: Array, pairs_R: Array, values_R: Array, weights_R: Array, *, least_noise: float) -> SizeFit:
    """The law of loss or error by size: least (weighted) squares, where an outlier counts less.

    With weights `1 / values_R` residuals are relative: those of logarithms, where they are small.
    """
    designs_TRF, scale = _size_designs(parameters_R, pairs_R)
    fit, trust_R = fit_robustly(designs_TRF, values_R, weights_R, noise=least_noise)
    law = _size_law(int(fit.grid_rows_S[0]), fit.factors_SF[0], scale)
    residuals_R = (values_R - law(parameters_R, pairs_R)) * weights_R
    return SizeFit(
        law, scatter_of(residuals_R, weights_R, trust_R, constants=designs_TRF.shape[2] + 1, least=least_noise)
    )


def refit_size(fit: SizeFit, parameters_R: Array, pairs_R: Array, values_RS: Array) -> list[SizeLaw]:
    """The law of each of S sets of values."""
    designs_TRF, scale = _size_designs(parameters_R, pairs_R)
    found = fit_profile(designs_TRF, values_RS, np.sqrt(fit.scatter.trust_R) * fit.scatter.weights_R)
    rows = zip(found.grid_rows_S.tolist(), found.factors_SF, strict=True)
    return [_size_law(grid_row, factors_F, scale) for grid_row, factors_F in rows]


def fit_error(losses_R: Array, errors_R: Array, queries_R: Array) -> ErrorFit:
    """The law of the error by the loss, each run weighed by what counting its hits leaves uncertain."""
    designs_TRF, weights_R = _error_designs(losses_R), 1.0 / counting_noise(errors_R, queries_R)
    fit, trust_R = fit_robustly(designs_TRF, 1.0 - errors_R, weights_R, noise=1.0)
    law = _error_law(int(fit.grid_rows_S[0]), fit.factors_SF[0])
    residuals_R = (errors_R - law(losses_R)) * weights_R
    return ErrorFit(law, scatter_of(residuals_R, weights_R, trust_R, constants=3, least=1.0))


def refit_error(fit: ErrorFit, losses_R: Array, errors_RS: Array) -> list[ErrorLaw]:
    """The law of each of S sets of errors."""
    weights_R = np.sqrt(fit.scatter.trust_R) * fit.scatter.weights_R
    found = fit_profile(_error_designs(losses_R), 1.0 - errors_RS, weights_R)
    rows = zip(found.grid_rows_S.tolist(), found.factors_SF, strict=True)
    return [_error_law(grid_row, factors_F) for grid_row, factors_F in rows]


def counting_noise(errors_R: Array, queries_R: Array) -> Array:
    """The standard error of a share of so many queries; of none or all, that of one query more."""
    shares_R = (errors_R * queries_R + 1.0) / (queries_R + 2.0)
    return np.sqrt(shares_R * (1.0 - shares_R) / queries_R)


def scatter_of(residuals_R: Array, weights_R: Array, trust_R: Array, *, constants: int, least: float) -> Scatter:
    """What residuals (in units of `1 / weights_R`) say of the noise, after so many constants were fitted to them."""
    freedom = max(1, len(residuals_R) - constants)
    noise = float(np.sqrt((trust_R * residuals_R**2).sum() / freedom))
    return Scatter(weights_R, max(least, noise), freedom, trust_R)


def _size_designs(parameters_R: Array, pairs_R: Array) -> tuple[Array, tuple[float, float]]:
    """Columns 1, d^-2eta and n^-2eta for each eta; n and d in units of their means, which keeps the columns alike."""
    scale = float(np.exp(np.log(parameters_R).mean())), float(np.exp(np.log(pairs_R).mean()))
    powers_T = -2.0 * ETAS[:, None]
    columns = [np.ones((len(ETAS), len(pairs_R))), (pairs_R / scale[1]) ** powers_T]
    if parameters_R.max() >= SAME_SIZE * parameters_R.min():
        columns.append((parameters_R / scale[0]) ** powers_T)
    return np.stack(columns, axis=2), scale


def _size_law(grid_row: int, factors_F: Array, scale: tuple[float, float]) -> SizeLaw:
    eta = float(ETAS[grid_row])
    of_pairs = float(factors_F[1]) * scale[1] ** (2 * eta) * FLOPS_A_PAIR**eta
    of_parameters = float(factors_F[2]) * scale[0] ** (2 * eta) * FLOPS_A_PAIR**eta if len(factors_F) > 2 else 0.0
    return SizeLaw(float(factors_F[0]), of_parameters, of_pairs, eta)


def _error_designs(losses_R: Array) -> Array:
    """P@1 = (1 - eps) + k exp(-gamma loss): the columns 1 and exp(-gamma loss) for each gamma."""
    return np.stack([np.ones((len(GAMMAS), len(losses_R))), np.exp(-GAMMAS[:, None] * losses_R)], axis=2)


def _error_law(grid_row: int, factors_F: Array) -> ErrorLaw:
    return ErrorLaw(1.0 - float(factors_F[0]), float(factors_F[1]), float(GAMMAS[grid_row]))
