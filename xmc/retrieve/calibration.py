"""From scores to probabilities: P(relevant | score, band of ranks), as fitted by `xmc check calibrate`.

Shapes: H hits of Q queries, N knots of a curve, T cut-offs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmc.errors import ConfigError
from xmc.given_numbers import any_number
from xmc.values import Hits

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Curve:
    """A monotone map from scores to probabilities, given by knots (straight between, level outside) or a logistic.

    The probability is that of the knots where there are any, else 1 / (1 + exp(-slope · score - intercept)).
    """

    scores_N: Array
    probabilities_N: Array
    slope: float = 0.0
    intercept: float = 0.0

    def __call__(self, scores: Array) -> Array:
        """Probabilities of scores, same shape, float64.

        >>> Curve(np.array([0.0, 1.0]), np.array([0.2, 0.6]))(np.array([-1.0, 0.5, 3.0])).tolist()
        [0.2, 0.4, 0.6]
        >>> Curve(np.zeros(0), np.zeros(0), slope=2.0)(np.array([0.0])).tolist()
        [0.5]
        """
        scores = np.asarray(scores, np.float64)
        if len(self.scores_N):
            return np.asarray(np.interp(scores, self.scores_N, self.probabilities_N))
        return np.asarray(0.5 * (1 + np.tanh((self.slope * scores + self.intercept) / 2)))  # cannot overflow

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        if len(self.scores_N):
            return {"scores": self.scores_N.tolist(), "probabilities": self.probabilities_N.tolist()}
        return {"slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Curve:
        """What `to_dict` gave."""
        scores_N, probabilities_N = (np.array(values.get(key, []), np.float64) for key in ("scores", "probabilities"))
        return cls(scores_N, probabilities_N, values.get("slope", 0.0), values.get("intercept", 0.0))


@dataclass(frozen=True)
class CutOffs:
    """What held-out queries say about returning only hits of at least some probability; probabilities descend.

    Precision is over the hits that stay, recall over all positives of the queries, the false-positive rate over the
    hits that are not relevant. Shapes: all (T,).
    """

    probabilities_T: Array
    precisions_T: Array
    recalls_T: Array
    false_positive_rates_T: Array

    def choose(
        self, *, precision: float | None = None, recall: float | None = None, false_positive_rate: float | None = None
    ) -> float:
        """The lowest cut-off of at least that precision, the highest of that recall, or the lowest below that rate.

        Raises: ConfigError unless exactly one is given, within 0..1, and some cut-off reaches it.

        >>> cut_offs = CutOffs(np.array([0.9, 0.5]), np.array([1.0, 0.6]), np.array([0.3, 0.8]), np.array([0.0, 0.2]))
        >>> cut_offs.choose(precision=0.9), cut_offs.choose(recall=0.5), cut_offs.choose(false_positive_rate=0.2)
        (0.9, 0.5, 0.5)
        """
        wanted = {"precision": precision, "recall": recall, "false_positive_rate": false_positive_rate}
        given = {name: value for name, value in wanted.items() if value is not None}
        if len(given) != 1:
            raise ConfigError(f"give exactly one of {', '.join(wanted)}, got {', '.join(given) or 'none'}.")
        ((name, value),) = given.items()
        value = any_number(value, name=name)
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} must lie in 0..1, got {value}.")
        reached_T, best = self._reached(name, value)
        if not reached_T.any():
            raise ConfigError(f"no cut-off reaches {name} {value}; the best on held-out queries is {best:.3f}.")
        places = np.flatnonzero(reached_T)
        return float(self.probabilities_T[places[0] if name == "recall" else places[-1]])

    def _reached(self, name: str, value: float) -> tuple[Array, float]:
        """Which cut-offs reach the value, and the best there is."""
        if name == "precision":
            return self.precisions_T >= value, float(self.precisions_T.max(initial=0))
        if name == "recall":
            return self.recalls_T >= value, float(self.recalls_T.max(initial=0))
        return self.false_positive_rates_T <= value, float(self.false_positive_rates_T.min(initial=1))

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values."""
        return {name.removesuffix("_T"): column.tolist() for name, column in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, list[float]]) -> CutOffs:
        """What `to_dict` gave."""
        return cls(**{f"{name}_T": np.array(column, np.float64) for name, column in values.items()})


NO_CUT_OFFS = CutOffs(*(np.zeros(0) for _ in range(4)))


@dataclass(frozen=True)
class Calibration:
    """A curve for each band of ranks: band i starts at `first_ranks[i]`, the last one has no end."""

    method: str
    first_ranks: tuple[int, ...]
    curves: tuple[Curve, ...]
    cut_offs: CutOffs

    def probabilities(self, hits: Hits) -> Array:
        """The probability that each hit is relevant, (H,) float64, from its score and its rank; never rising in a list.

        Each list is whole: its first hit is the best of all labels.
        """
        ranks_H = np.arange(len(hits.scores)) - np.repeat(hits.offsets[:-1], np.diff(hits.offsets)) + 1
        return never_rising(self.at_ranks(hits.scores, ranks_H), hits.offsets)

    def probabilities_of_parts(self, hits: Hits, first: Hits) -> Array:
        """The probabilities that hits have in their whole lists, (H,), of which `hits` are parts and `first` begins.

        `first` are the whole lists down to the rank above the last band: below it ranks make no difference.
        """
        last = self.first_ranks[-1]
        ranks_H = np.full(len(hits.label_rows), last)
        most_H = np.ones(len(hits.label_rows))  # what stands right above a hit in its whole list is as probable or more
        falling_F = self.probabilities(first)
        for query, (best, _) in enumerate(first):
            inside = slice(hits.offsets[query], hits.offsets[query + 1])
            rank_of = {int(row): rank for rank, row in enumerate(best, start=1)}
            ranks_H[inside] = [rank_of.get(int(row), last) for row in hits.label_rows[inside]]
            above = np.concatenate(([1.0], falling_F[first.offsets[query] : first.offsets[query + 1]]))
            most_H[inside] = above[np.minimum(ranks_H[inside], len(above)) - 1]
        return never_rising(np.minimum(self.at_ranks(hits.scores, ranks_H), most_H), hits.offsets)

    def at_ranks(self, scores: Array, ranks: Array) -> Array:
        """What the curves say of scores with their ranks, counted from 1; arrays of equal shape."""
        bands = np.searchsorted(self.first_ranks, ranks, side="right") - 1
        probabilities = np.empty(np.shape(scores), np.float64)
        for band, curve in enumerate(self.curves):
            inside = bands == band
            probabilities[inside] = curve(np.asarray(scores)[inside])
        return probabilities

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        bands = zip(self.first_ranks, self.curves, strict=True)
        return {
            "method": self.method,
            "bands": [{"first_rank": rank, **curve.to_dict()} for rank, curve in bands],
            "cut_offs": self.cut_offs.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """What `to_dict` gave."""
        bands = values["bands"]
        return cls(
            values["method"],
            tuple(int(band["first_rank"]) for band in bands),
            tuple(Curve.from_dict(band) for band in bands),
            CutOffs.from_dict(values["cut_offs"]),
        )


def never_rising(values_H: Array, offsets: Array) -> Array:
    """Each value of a list, or the smallest before it where that is less: bands are fitted apart, lists are read whole.

    >>> never_rising(np.array([0.5, 0.7, 0.2, 0.9]), np.array([0, 3, 4])).tolist()
    [0.5, 0.5, 0.2, 0.9]
    """
    counts_Q = np.diff(offsets)
    inside_QK = np.arange(counts_Q.max(initial=0)) < counts_Q[:, None]
    values_QK = np.full(inside_QK.shape, np.inf)
    values_QK[inside_QK] = values_H
    return np.asarray(np.minimum.accumulate(values_QK, axis=1)[inside_QK])
