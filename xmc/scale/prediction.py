"""Predict a larger run from finished ones, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xmc.counted import counted
from xmc.evaluate.bootstrap import LEVEL
from xmc.evaluate.figures import Figure
from xmc.scale.fit import SAME_SIZE, SizeFit, counting_noise, scatter_of
from xmc.scale.laws import Array
from xmc.scale.points import Columns, Point, Size, columns
from xmc.scale.profile_fit import fit_profile, fit_robustly
from xmc.scale.routes import ROUTES, Draws, Route, fit_losses, misses, predict_loss

SAMPLES = 500
FAR = 1000.0  # times the compute of the largest run: beyond it a prediction is not to be trusted, and says so
LAW_CONSTANTS = 4  # E, a, b and eta
TIME_NOISE = 0.02  # relative, at the very least
LESS_TRUST = 0.5  # a run that counts less than this is named as an outlier


@dataclass(frozen=True)
class Prediction:
    """What a run of size `target` will reach: validation loss, P@1 and seconds, each with a 95 % interval.

    The intervals are those of one such run, whose own noise is in them. Of the routes to P@1 (`xmc.scale.routes`) the
    one that predicts the largest run better from the others is taken, or, where counting hits cannot tell them apart,
    that of the narrower interval. `notes` say what weakens the prediction.
    """

    points: tuple[Point, ...]
    target: Size
    loss: Figure
    seconds: Figure
    loss_fit: SizeFit
    routes: dict[str, Route]
    misses: dict[str, float]
    notes: tuple[str, ...]

    @property
    def route(self) -> str:
        """The name of the route that was taken."""
        return choose_route(self.routes, self.misses, self.points)

    @property
    def p1(self) -> Figure:
        """P@1 by that route."""
        return self.routes[self.route].p1.figure()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        predicted = {"loss": self.loss, "p1": self.p1, "seconds": self.seconds}
        trusts = self.loss_fit.scatter.trust_R * self.routes[self.route].trust_R
        return {
            "target": self.target.to_dict(),
            "predicted": {name: asdict(figure) for name, figure in predicted.items()},
            "route": self.route,
            "routes": {
                name: {"p1": asdict(route.p1.figure()), "largest_run_missed_by": self.misses[name], **route.laws}
                for name, route in self.routes.items()
            },
            "loss_law": self.loss_fit.law.to_dict(),
            "interval": {"level": LEVEL, "method": "parametric bootstrap over the noise of the runs"},
            "trust": {point.name: float(trust) for point, trust in zip(self.points, trusts, strict=True)},
            "runs": [point.to_dict() for point in self.points],
            "notes": list(self.notes),
        }


def predict(points: Sequence[Point], target: Size, *, samples: int = SAMPLES, seed: int = 0) -> Prediction:
    """Fit the laws to the points and predict a run of the size `target`.

    Each of `samples` draws sets the runs' losses and errors anew about the fitted laws, by noise as large as their
    residuals (its own size drawn too, since few residuals know little of it) and, for errors, at least that of counting
    hits; fits the laws again; and adds the noise of the predicted run.
    Raises: DataError for fewer than five runs, or runs that are all of about one size.
    """
    of = columns(points)
    size = np.array([float(target.parameters)]), np.array([float(target.pairs)])
    loss_fit = fit_losses(of)
    loss = predict_loss(of, loss_fit, size, samples=samples, seed=seed)
    routes = {name: route(of, loss, size, samples=samples, seed=seed) for name, route in ROUTES.items()}
    seconds = _seconds(of, target, samples=samples, seed=seed)
    found = misses(of)
    trust_R = loss_fit.scatter.trust_R * routes[choose_route(routes, found, points)].trust_R
    notes = (*_notes(points, target, of), *_outliers(points, trust_R))
    return Prediction(tuple(points), target, loss.figure(), seconds.figure(), loss_fit, routes, found, notes)


def choose_route(routes: Mapping[str, Route], misses: Mapping[str, float], points: Sequence[Point]) -> str:
    """The route that misses the largest run by less; where counting hits cannot tell, that of the narrower interval."""
    largest = max(points, key=lambda point: point.size.compute)
    margin = float(counting_noise(np.array([1 - largest.p1]), np.array([float(largest.held_out)]))[0])
    close = [name for name in routes if misses[name] <= min(misses.values()) + margin]
    return min(close, key=lambda name: float(np.ptp(np.quantile(routes[name].p1.drawn_S, [0.025, 0.975]))))


def _seconds(of: Columns, target: Size, *, samples: int, seed: int) -> Draws:
    """Seconds by their own fit: factors that are not negative, over a start, queries, scores and updates."""
    generator = np.random.default_rng([seed, 3])
    scale_F = np.maximum(of.work_RF.max(axis=0), 1.0)
    designs_TRF, work_F = (of.work_RF / scale_F)[None], np.array(target.work()) / scale_F
    weights_R = 1.0 / of.seconds_R
    fit, trust_R = fit_robustly(designs_TRF, of.seconds_R, weights_R, noise=TIME_NOISE)
    factors_F = fit.factors_SF[0]
    fitted_R = designs_TRF[0] @ factors_F
    used = int((factors_F > 0).sum())
    scatter = scatter_of((of.seconds_R - fitted_R) * weights_R, weights_R, trust_R, constants=used, least=TIME_NOISE)
    drawn_RS = np.maximum(scatter.draw(fitted_R, generator, samples=samples), 0.0)
    found_SF = fit_profile(designs_TRF, drawn_RS, np.sqrt(trust_R) * weights_R).factors_SF
    own_S = np.maximum(1.0 + scatter.relative(generator, (samples,)), 0.0)
    return Draws(float(work_F @ factors_F), (found_SF @ work_F) * own_S)


def _notes(points: Sequence[Point], target: Size, of: Columns) -> list[str]:
    """What weakens the prediction whatever the runs say, in words."""
    notes = []
    times = target.compute / max(point.size.compute for point in points)
    if times > FAR:
        said = f"the target has {times:,.0f} times the compute of the largest run"
        notes.append(f"{said}, and beyond {FAR:,.0f} times nothing is to be relied on")
    grown = target.parameters / float(np.median(of.parameters_R))
    if of.parameters_R.max() < SAME_SIZE * of.parameters_R.min() and not 1 / SAME_SIZE <= grown <= SAME_SIZE:
        notes.append(
            f"the runs are of one width and the target of {grown:.2g} times it: what width brings is not known"
        )
    if len(points) <= LAW_CONSTANTS + 2:
        notes.append(
            f"{counted(len(points), 'run for the', 'runs for the')} {LAW_CONSTANTS} constants of a law "
            "leave little to judge it by"
        )
    return notes


def _outliers(points: Sequence[Point], trust_R: Array) -> list[str]:
    pairs = zip(points, trust_R.tolist(), strict=True)
    return [
        f"run '{point.name}' lies off the laws and counts {trust:.0%}" for point, trust in pairs if trust < LESS_TRUST
    ]
