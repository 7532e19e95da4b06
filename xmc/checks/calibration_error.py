"""How far probabilities are from hit rates: ECE, Brier score, log loss.

Shapes: H pairs, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bins:
    """Equal-mass bins of pairs by probability; pairs of equal probability are never torn apart. Shapes: (B,), (H,)."""

    bin_H: Array
    counts_B: Array
    mean_probabilities_B: Array
    hit_rates_B: Array


def equal_mass_bins(probabilities_H: Array, hits_H: Array, *, bins: int = 15) -> Bins:
    """At most `bins` bins between the quantiles of the probabilities; empty ones are left out.

    `hits_H` are 0 or 1, or hits divided by propensities; a bin's hit rate is their mean, cut to 0..1.

    >>> equal_mass_bins(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 1, 1, 1]), bins=2).hit_rates_B.tolist()
    [0.5, 1.0]
    """
    edges = np.quantile(probabilities_H, np.linspace(0, 1, bins + 1)[1:-1])
    _, bin_H = np.unique(np.searchsorted(np.unique(edges), probabilities_H), return_inverse=True)
    counts_B = np.bincount(bin_H)
    means_B, rates_B = (np.bincount(bin_H, values) / counts_B for values in (probabilities_H, hits_H))
    return Bins(bin_H, counts_B, means_B, np.clip(rates_B, 0.0, 1.0))


def expected_calibration_error(bins: Bins) -> float:
    """ECE = sum over bins of (share of the pairs) · |mean probability - hit rate|.

    Reference: Naeini, Cooper, Hauskrecht 2015, with equal-mass bins as Nixon et al. 2019.

    >>> round(expected_calibration_error(equal_mass_bins(np.full(4, 0.5), np.array([1, 1, 1, 0]))), 3)
    0.25
    """
    gaps_B = np.abs(bins.mean_probabilities_B - bins.hit_rates_B)
    return float((bins.counts_B * gaps_B).sum() / bins.counts_B.sum())


def error_by_chance(probabilities_H: Array, bins: Bins) -> float:
    """The ECE that so many pairs would show on average if every probability were true (normal approximation).

    Formula: sum over bins of sqrt(2 / pi · sum of p (1 - p)) / H.
    """
    variance_B = np.bincount(bins.bin_H, probabilities_H * (1 - probabilities_H))
    return float(np.sqrt(2 / np.pi * variance_B).sum() / len(probabilities_H))


def brier_scores(probabilities_H: Array, relevant_H: Array) -> Array:
    """(p - y)² of each pair."""
    return np.asarray((probabilities_H - relevant_H) ** 2)


def log_losses(probabilities_H: Array, relevant_H: Array) -> Array:
    """-log of the probability of what is true, of each pair; probabilities are kept 1e-7 away from 0 and 1."""
    safe_H = np.clip(probabilities_H, 1e-7, 1 - 1e-7)
    return np.asarray(-np.where(relevant_H, np.log(safe_H), np.log1p(-safe_H)))
