"""Two routes to the P@1 of a larger run: by its size alone, or by its size to its loss and by the loss to P@1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xmc.evaluate.bootstrap import LEVEL
from xmc.evaluate.figures import Figure
from xmc.scale.fit import LOSS_NOISE, SizeFit, counting_noise, fit_error, fit_size, refit_error, refit_size
from xmc.scale.laws import Array
from xmc.scale.points import Columns

BY_SIZE, BY_LOSS = "by size", "by loss"
LEAST_LOSS = 1e-9


@dataclass(frozen=True)
class Draws:
    """A prediction as its value and as it comes out in each draw of the noise, (S,)."""

    value: float
    drawn_S: Array

    def figure(self) -> Figure:
        """The value with the 95 % interval of the draws."""
        tail = (1.0 - LEVEL) / 2.0
        low, high = np.quantile(self.drawn_S, [tail, 1.0 - tail])
        return Figure(self.value, float(min(low, self.value)), float(max(high, self.value)))


@dataclass(frozen=True)
class Route:
    """P@1 by one route, the laws it went by, and how far each run is trusted."""

    p1: Draws
    laws: Mapping[str, Mapping[str, Any]]
    trust_R: Array


def fit_losses(of: Columns) -> SizeFit:
    """The law of the loss by size, in relative residuals."""
    return fit_size(of.parameters_R, of.pairs_R, of.losses_R, 1.0 / of.losses_R, least_noise=LOSS_NOISE)


def predict_loss(of: Columns, fit: SizeFit, target: tuple[Array, Array], *, samples: int, seed: int) -> Draws:
    """The loss of one run of the size `target` (parameters, pairs), its own noise among the draws."""
    generator = np.random.default_rng([seed, 0])
    drawn_RS = fit.scatter.draw(fit.law(of.parameters_R, of.pairs_R), generator, samples=samples)
    laws = refit_size(fit, of.parameters_R, of.pairs_R, np.maximum(drawn_RS, LEAST_LOSS))
    means_S = np.array([law(*target)[0] for law in laws])
    own_S = np.maximum(1.0 + fit.scatter.relative(generator, (samples,)), 0.0)  # no loss is below 0
    return Draws(float(fit.law(*target)[0]), means_S * own_S)


def p1_by_size(of: Columns, loss: Draws, target: tuple[Array, Array], *, samples: int, seed: int) -> Route:
    """P@1 by the law of the error by size. (The loss plays no part; both routes are called alike.)"""
    del loss
    generator = np.random.default_rng([seed, 1])
    weights_R = 1.0 / counting_noise(of.errors_R, of.held_out_R)
    fit = fit_size(of.parameters_R, of.pairs_R, of.errors_R, weights_R, least_noise=1.0)
    fitted_R = fit.law(of.parameters_R, of.pairs_R)
    drawn_RS = np.clip(fit.scatter.draw(fitted_R, generator, samples=samples), 0.0, 1.0)
    laws = refit_size(fit, of.parameters_R, of.pairs_R, drawn_RS)
    errors_S = np.array([law(*target)[0] for law in laws])
    own_S = _own_noise(errors_S, of) * fit.scatter.relative(generator, (samples,))
    value = 1.0 - min(1.0, float(fit.law(*target)[0]))
    return Route(
        Draws(value, 1.0 - np.clip(errors_S + own_S, 0.0, 1.0)), {"error": fit.law.to_dict()}, fit.scatter.trust_R
    )


def p1_by_loss(of: Columns, loss: Draws, target: tuple[Array, Array], *, samples: int, seed: int) -> Route:
    """P@1 by the predicted loss and the law of the error by the loss. (The target is in the loss already.)"""
    del target
    generator = np.random.default_rng([seed, 2])
    fit = fit_error(of.losses_R, of.errors_R, of.held_out_R)
    drawn_RS = np.clip(fit.scatter.draw(fit.law(of.losses_R), generator, samples=samples), 0.0, 1.0)
    laws = refit_error(fit, of.losses_R, drawn_RS)
    errors_S = np.array([float(law(np.array([each]))[0]) for law, each in zip(laws, loss.drawn_S, strict=True)])
    own_S = _own_noise(errors_S, of) * fit.scatter.relative(generator, (samples,))
    value = 1.0 - float(fit.law(np.array([loss.value]))[0])
    return Route(
        Draws(value, 1.0 - np.clip(errors_S + own_S, 0.0, 1.0)),
        {"error_by_loss": fit.law.to_dict()},
        fit.scatter.trust_R,
    )


ROUTES: Mapping[str, Callable[..., Route]] = {BY_SIZE: p1_by_size, BY_LOSS: p1_by_loss}


def misses(of: Columns) -> dict[str, float]:
    """How far off each route is when it predicts the P@1 of the run of most compute from the others."""
    largest = int((of.parameters_R * of.pairs_R).argmax())
    others = np.arange(len(of.losses_R)) != largest
    rest = replace(of, **{name: getattr(of, name)[others] for name in Columns.__dataclass_fields__})
    target = of.parameters_R[[largest]], of.pairs_R[[largest]]
    loss = predict_loss(rest, fit_losses(rest), target, samples=1, seed=0)
    p1 = 1.0 - of.errors_R[largest]
    return {
        name: float(abs(route(rest, loss, target, samples=1, seed=0).p1.value - p1)) for name, route in ROUTES.items()
    }


def _own_noise(errors_S: Array, of: Columns) -> Array:
    """What counting the hits of the predicted run leaves uncertain."""
    return counting_noise(np.clip(errors_S, 0.0, 1.0), np.full(len(errors_S), of.held_out_R.max()))
