"""Signal and noise of a head's features: one number fitted on held-out queries, and the curve that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xmc.diagnose.dynamics import Array, best_time, generalisation_errors
from xmc.diagnose.features import Modes

BANDS = 12  # of the spectrum, over which the teacher's variance is averaged
NOISES = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 120)])  # as shares of the mean squared answer


@dataclass(frozen=True)
class Estimate:
    """Noise of an answer, the teacher's variance along each mode (means over bands), and signal over noise."""

    noise: float
    teacher_M: Array
    snr: float


def teacher_variances(modes: Modes, noise: float) -> Array:
    """The squared weight of each mode, from (u . y)^2 = s w^2 + noise: means over bands of the spectrum, at least 0."""
    raw_M = (modes.answers_M - noise) / modes.eigenvalues_M
    teacher_M = np.empty(len(raw_M))
    for band in np.array_split(np.arange(len(raw_M)), min(BANDS, len(raw_M))):
        weights = modes.eigenvalues_M[band]
        teacher_M[band] = max(0.0, float((raw_M[band] * weights).sum() / weights.sum()))
    return teacher_M


def predicted_errors(modes: Modes, times_T: Array, noise: float) -> Array:
    """The expected held-out error at each time, if an answer has so much noise."""
    teacher_M = teacher_variances(modes, noise)
    frozen = modes.outside * float(teacher_M.mean())
    return frozen + generalisation_errors(
        modes.eigenvalues_M, times_T, inputs_M=modes.inputs_M, teacher_M=teacher_M, noise=noise
    )


def estimate(modes: Modes, measured_T: Array, times_T: Array) -> Estimate:
    """The noise with which the predicted curve is nearest (relative squares) to one measured on held-out queries."""
    total = float(measured_T[0])  # at the first time nothing is learned yet
    costs = [
        float((((predicted_errors(modes, times_T, share * total) - measured_T) / measured_T) ** 2).mean())
        for share in NOISES
    ]
    noise = float(NOISES[int(np.argmin(costs))] * total)
    teacher_M = teacher_variances(modes, noise)
    signal = float((teacher_M * modes.inputs_M).sum())
    return Estimate(noise, teacher_M, signal / noise if noise else float("inf"))


def stopping_time(modes: Modes, found: Estimate, times_T: Array) -> float:
    """The time of the least predicted error."""
    return best_time(predicted_errors(modes, times_T, found.noise), times_T)


def learned_time(modes: Modes, head_LN: Array, times_T: Array) -> tuple[float, float]:
    """How far along the flow a head is (its time), and how well the flow describes it (R^2 over modes).

    Along mode i a head of the flow has scale (1 - exp(-s t)) of its final weights; scale is free, since losses other
    than the squared one learn weights of another length.
    """
    along_ML = (head_LN @ modes.vectors_NM).T
    strength_M = (modes.weights_ML**2).sum(axis=1)
    shares_M = (along_ML * modes.weights_ML).sum(axis=1) / np.maximum(strength_M, 1e-300)
    weights_M = strength_M * modes.eigenvalues_M
    learned_TM = modes.learned(times_T)
    scales_T = (learned_TM * shares_M * weights_M).sum(axis=1) / (learned_TM**2 * weights_M).sum(axis=1)
    residuals_T = ((shares_M - scales_T[:, None] * learned_TM) ** 2 * weights_M).sum(axis=1)
    row = int(np.argmin(residuals_T))
    mean = float((shares_M * weights_M).sum() / weights_M.sum())
    spread = float(((shares_M - mean) ** 2 * weights_M).sum())
    return float(times_T[row]), 1.0 - float(residuals_T[row]) / spread if spread else 0.0
