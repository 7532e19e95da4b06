"""Fit probabilities to scores: temperature, Platt, isotonic, a curve for each band of ranks.

Shapes: N pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from xmc.checks.pairs import Pairs, without_positives
from xmc.errors import DataError
from xmc.retrieve.calibration import NO_CUT_OFFS, Calibration, Curve

Array = np.ndarray[Any, Any]
Method = Literal["isotonic", "platt", "temperature"]
MOST_RANKS = 10_000
FEWEST_RELEVANT = 20  # of a band; one with fewer joins its neighbour


def fit_calibration(
    pairs: Pairs, *, method: Method, first_ranks: Sequence[int], unanswerable: float = 0.0, top: int = MOST_RANKS
) -> Calibration:
    """Curves that make P(relevant | score, band of ranks) of retrieved pairs.

    A score alone is not enough: at equal score a hit at rank 1 is relevant more often than one at rank 5, because it is
    the best of its list. A band with fewer than 20 relevant pairs joins the band before it. Each query counts with the
    weight 1 - `unanswerable` as it is, and with the weight `unanswerable` as if nothing matched it. Only the first
    `top` ranks count; the pairs below them are needed because they move up when positives are taken out.

    Raises: DataError when the pairs have fewer than 20 relevant ones, or no irrelevant one.
    """
    nothing = without_positives(pairs, np.ones(pairs.queries, dtype=bool), np.zeros(pairs.queries, dtype=np.int64))
    pairs, nothing = pairs.down_to(top), nothing.down_to(top)
    relevant = int(pairs.relevant_H.sum())
    if relevant < FEWEST_RELEVANT or relevant == len(pairs):
        raise DataError(
            f"calibration needs at least {FEWEST_RELEVANT} relevant retrieved pairs and one that is not relevant, got "
            f"{relevant} among {len(pairs):,}.",
            hint="Hold out more queries (a larger dev split), or raise check.calibrate.top.",
        )
    kept_ranks = merge_bands(pairs, sorted({1, *first_ranks}) if method != "temperature" else [1])
    scores_N, relevant_N, ranks_N, weights_N = _weighted(pairs, nothing, unanswerable)
    bands_N = np.searchsorted(kept_ranks, ranks_N, side="right") - 1
    curves = []
    for band in range(len(kept_ranks)):
        inside = bands_N == band
        curves.append(FITS[method](scores_N[inside], relevant_N[inside], weights_N[inside]))
    return Calibration(method, tuple(kept_ranks), tuple(curves), NO_CUT_OFFS)


def _weighted(pairs: Pairs, nothing: Pairs, unanswerable: float) -> tuple[Array, Array, Array, Array]:
    """Scores, relevance, ranks, weights of the pairs as they are and, by the share `unanswerable`, without answers."""
    versions = [(pairs, 1 - unanswerable), *([(nothing, unanswerable)] if unanswerable else [])]
    columns = [(each.scores_H, each.relevant_H, each.ranks_H, np.full(len(each), share)) for each, share in versions]
    scores_N, relevant_N, ranks_N, weights_N = (np.concatenate(column) for column in zip(*columns, strict=True))
    return scores_N, relevant_N, ranks_N, weights_N


def merge_bands(pairs: Pairs, first_ranks: Sequence[int]) -> list[int]:
    """The bands, from the deepest up, that have enough relevant pairs of their own; the first one takes what is left.

    Where even the first has too few it takes the second as well.
    """
    kept, end = [], np.inf
    for first in sorted(first_ranks, reverse=True):
        inside_H = (pairs.ranks_H >= first) & (pairs.ranks_H < end)
        if pairs.relevant_H[inside_H].sum() >= FEWEST_RELEVANT or first == 1:
            kept.append(first)
            end = first
    kept.reverse()
    if len(kept) > 1 and pairs.relevant_H[pairs.ranks_H < kept[1]].sum() < FEWEST_RELEVANT:
        del kept[1]
    return kept


def fit_isotonic(scores_N: Array, relevant_N: Array, weights_N: Array | None = None) -> Curve:
    """The monotone step curve of least squares, kept half a pair away from 0 and 1 so that no log loss is infinite.

    Reference: Zadrozny and Elkan 2002.

    >>> fit_isotonic(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, True, False, True])).probabilities_N.tolist()
    [0.1, 0.5, 0.5, 0.9]
    """
    from sklearn.isotonic import IsotonicRegression

    weights_N = np.ones(len(scores_N)) if weights_N is None else weights_N
    regression = IsotonicRegression(out_of_bounds="clip")
    fitted = regression.fit(scores_N, relevant_N.astype(np.float64), sample_weight=weights_N)
    edge = 0.5 / (weights_N.sum() + 1)
    knots = (np.asarray(fitted.X_thresholds_, np.float64), np.clip(fitted.y_thresholds_, edge, 1 - edge))
    return Curve(*knots)


def fit_platt(scores_N: Array, relevant_N: Array, weights_N: Array | None = None) -> Curve:
    """P = sigma(slope · score + intercept) of greatest likelihood, targets drawn in by half a pair as Platt does.

    Reference: Platt 1999.
    """
    from sklearn.linear_model import LogisticRegression

    weights_N = np.ones(len(scores_N)) if weights_N is None else weights_N
    centre, spread = float(scores_N.mean()), float(scores_N.std()) or 1.0
    relevant, irrelevant = (float(weights_N[of_kind].sum()) for of_kind in (relevant_N, ~relevant_N))
    high, low = (relevant + 1) / (relevant + 2), 1 / (irrelevant + 2)
    share_N = np.where(relevant_N, high, low)  # a soft target is two weighted pairs
    standard_N = (scores_N - centre) / spread
    fitted = LogisticRegression(C=np.inf).fit(
        np.concatenate((standard_N, standard_N))[:, None],
        np.repeat([1, 0], len(standard_N)),
        sample_weight=np.concatenate((weights_N * share_N, weights_N * (1 - share_N))),
    )
    slope = float(fitted.coef_[0, 0]) / spread
    if slope < 0:  # more score must never mean less probability; the best monotone curve is level
        mean = float(np.average(share_N, weights=weights_N))
        return Curve(np.zeros(0), np.zeros(0), 0.0, math.log(mean / (1 - mean)))
    return Curve(np.zeros(0), np.zeros(0), slope, float(fitted.intercept_[0]) - slope * centre)


def fit_temperature(scores_N: Array, relevant_N: Array, weights_N: Array | None = None) -> Curve:
    """P = sigma(score / temperature) of greatest likelihood: one parameter, for scores that are log-odds up to scale.

    Reference: Guo, Pleiss, Sun, Weinberger 2017.
    """
    from scipy.optimize import minimize_scalar

    signed_N = np.where(relevant_N, -scores_N, scores_N)
    scale = float(np.abs(scores_N).max()) or 1.0

    def log_loss(log_slope: float) -> float:
        return float(np.average(np.logaddexp(0, np.exp(log_slope) / scale * signed_N), weights=weights_N))

    found = minimize_scalar(log_loss, bounds=(-15.0, 15.0), method="bounded")
    return Curve(np.zeros(0), np.zeros(0), float(np.exp(found.x)) / scale)


FITS: Mapping[str, Callable[[Array, Array, Array], Curve]] = {
    "isotonic": fit_isotonic,
    "platt": fit_platt,
    "temperature": fit_temperature,
}


def uncalibrated(scores: Array, similarity: str) -> Array:
    """A score read as if it were a probability: a cosine cut to 0..1, a dot product through the logistic function."""
    return np.clip(scores, 0.0, 1.0) if similarity == "cosine" else np.asarray(0.5 * (1 + np.tanh(scores / 2)))
