"""The diagnosis of a head: spectrum, signal over noise, predicted and measured curve, stopping step, advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xmc.counted import counted
from xmc.diagnose.advice import Advice, advise, gains_of_halves
from xmc.diagnose.dynamics import Array, best_time, time_grid
from xmc.diagnose.estimate import estimate, learned_time, predicted_errors, stopping_time
from xmc.diagnose.features import Data, Modes, held_out_errors, modes_of
from xmc.errors import DataError

LEAST_QUERIES, LEAST_HELD_OUT = 20, 20
POOR_FLOW = 0.5  # R^2 below which a head is not what the flow makes, and its step is not to be trusted


@dataclass(frozen=True)
class Diagnosis:
    """What was found. Errors are squared errors of held-out queries, as shares of that of weights of 0.

    `measured_T` is on the half of the held-out queries that the noise was not fitted on. `stopping_time` is predicted,
    `measured_time` where the measured curve is least, both of the flow; `run_time` is where the run's own head stands
    (R^2 `run_fit`), and `stopping_step` the step at which its schedule has the predicted time (none without a run).
    `snr` is None where the answers fit best without any noise.
    """

    queries: int
    features: int
    answers: int
    modes: Modes
    snr: float | None
    noise: float
    times_T: Array
    predicted_T: Array
    measured_T: Array
    stopping_time: float
    measured_time: float
    run_time: float | None
    run_fit: float | None
    run_step: int | None
    stopping_step: int | None
    advice: Advice
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = (
            "queries", "features", "answers", "snr", "noise", "stopping_time", "measured_time", "run_time", "run_fit",
            "run_step", "stopping_step",
        )  # fmt: skip
        eigenvalues_M = self.modes.eigenvalues_M
        return {
            **{name: getattr(self, name) for name in names},
            "modes": len(eigenvalues_M),
            "spectrum": (eigenvalues_M / self.queries).tolist(),
            "excess_of_never_stopping": float(self.measured_T[-1] / self.measured_T.min() - 1.0),
            "curve": {
                "time": self.times_T.tolist(),
                "predicted": self.predicted_T.tolist(),
                "measured": self.measured_T.tolist(),
            },
            "advice": asdict(self.advice),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class RunHead:
    """The head of a run, (L, N), the step it is from, and how far a schedule is after each step (cumulated rates)."""

    head_LN: Array
    step: int
    progress_S: Sequence[float]


def diagnose(data: Data, run: RunHead | None = None, *, seed: int = 0) -> Diagnosis:
    """Diagnose features and answers, and where the head of a run stands.

    Half of the held-out queries, drawn by `seed`, fit the noise; the other half is what is measured.
    Raises: DataError for too few queries, or features or answers that are all 0.
    """
    _check(data)
    modes = modes_of(data)
    times_T = time_grid(modes.eigenvalues_M)
    errors_HT = held_out_errors(modes, data, times_T)
    turn_H = np.random.default_rng(seed).permutation(len(errors_HT))
    fitted_T, measured_T = (errors_HT[half].mean(axis=0) for half in np.array_split(turn_H, 2))
    found = estimate(modes, fitted_T, times_T)
    predicted_T = predicted_errors(modes, times_T, found.noise)
    stop = stopping_time(modes, found, times_T)
    run_time, fit = learned_time(modes, run.head_LN, times_T) if run else (None, None)
    gains = gains_of_halves(data, seed=seed)
    if run_time is not None and run_time > stop:
        at_run, at_best = (float(np.interp(np.log(t), np.log(times_T), measured_T)) for t in (run_time, stop))
        gains["stop earlier"] = at_run / at_best - 1.0
    unit = float(measured_T[0])
    queries, features = data.features_PN.shape
    return Diagnosis(
        queries,
        features,
        data.answers_PL.shape[1],
        modes,
        found.snr if found.noise else None,
        found.noise / unit,
        times_T,
        predicted_T / unit,
        measured_T / unit,
        stop,
        best_time(measured_T, times_T),
        run_time,
        fit,
        run.step if run else None,
        _step_of(run, run_time, stop) if run and run_time else None,
        advise(gains),
        tuple(_notes(data, modes, fit)),
    )


def _step_of(run: RunHead, run_time: float, stop: float) -> int | None:
    """The step at which the run's schedule has come as far as the predicted time; none beyond its last step."""
    wanted = run.progress_S[run.step - 1] * stop / run_time
    step = int(np.searchsorted(np.asarray(run.progress_S), wanted)) + 1
    return step if step <= len(run.progress_S) else None


def _check(data: Data) -> None:
    queries, held_out = len(data.features_PN), len(data.held_features_HN)
    if queries < LEAST_QUERIES or held_out < LEAST_HELD_OUT:
        raise DataError(
            f"a diagnosis needs {LEAST_QUERIES} training and {LEAST_HELD_OUT} held-out queries, got {queries:,} and "
            f"{held_out:,}.",
            hint="Give a larger data set, or train anew with a larger train.validation_share.",
        )
    for name, values in (("features", data.features_PN), ("held-out features", data.held_features_HN)):
        if not np.isfinite(values).all() or not values.any():
            raise DataError(f"the {name} are all 0, or not finite.", hint="Is the encoder trained?")
    if not data.answers_PL.nnz or not data.held_answers_HL.nnz:
        raise DataError("no query has a positive among the labels.")


def _notes(data: Data, modes: Modes, fit: float | None) -> list[str]:
    queries, features = data.features_PN.shape
    notes = []
    if 0.8 <= queries / features <= 1.25:
        notes.append(
            f"{counted(queries, 'query')} for {counted(features, 'feature')}: near equality, training to the end is at "
            "its worst (double descent)"
        )
    if len(modes.eigenvalues_M) < features:
        unreached = features - len(modes.eigenvalues_M)
        by_none = "reached by no query and"
        said = counted(unreached, f"direction is {by_none} stays as it", f"directions are {by_none} stay as they")
        notes.append(f"{said} began")
    if fit is not None and fit < POOR_FLOW:
        notes.append(
            f"the run's head is not what gradient flow on squared error makes of these features (R^2 {fit:.2f}): "
            "its step is not to be relied on"
        )
    return notes
