"""What would help a head most: more data, a wider encoder, an earlier stop; with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xmc.diagnose.dynamics import time_grid
from xmc.diagnose.features import Data, held_out_errors, modes_of

WORTH = 0.02  # a share of the held-out error below which nothing is advised
ADVICE = {
    "more data": "the last doubling of the queries brought {gain:.1%} of the held-out error: more would go on helping",
    "wider": "the weaker half of the directions brought {gain:.1%} of the held-out error: more would go on helping",
    "stop earlier": "the run is past the best step, at {gain:.1%} more squared held-out error (P@1 can go on growing)",
}
NOTHING = "none"
DRAWS = 3  # halves are drawn so often, and their errors averaged


@dataclass(frozen=True)
class Advice:
    """The advice, the sentence for it, and each gain as a share of the held-out error of the best step."""

    advice: str
    reason: str
    gains: Mapping[str, float]


def least_error(data: Data) -> float:
    """The held-out error at the best time of the flow."""
    modes = modes_of(data)
    return float(held_out_errors(modes, data, time_grid(modes.eigenvalues_M, points=80)).mean(axis=0).min())


def gains_of_halves(data: Data, *, seed: int = 0) -> dict[str, float]:
    """What it costs, at the best time, to have half of the queries, or the stronger half of the directions.

    That is what the other half has brought. A narrower encoder would keep the directions along which features vary
    most; so the weaker ones are those that the last doubling of the width is taken to have added.
    """
    generator = np.random.default_rng(seed)
    queries = len(data.features_PN)
    whole = least_error(data)
    halves = [np.sort(generator.choice(queries, queries // 2, replace=False)) for _ in range(DRAWS)]
    fewer = float(np.mean([least_error(data.with_queries(rows)) for rows in halves]))
    vectors_NM = modes_of(data).vectors_NM
    narrower = least_error(data.along(vectors_NM[:, : max(1, vectors_NM.shape[1] // 2)]))
    return {"more data": fewer / whole - 1.0, "wider": narrower / whole - 1.0}


def advise(gains: Mapping[str, float]) -> Advice:
    """The advice of the largest gain; none where no gain is worth it.

    >>> advise({"more data": 0.1, "wider": 0.3, "stop earlier": 0.0}).advice
    'wider'
    """
    best = max(gains, key=lambda name: gains[name])
    if gains[best] < WORTH:
        return Advice(NOTHING, f"no change is expected to bring {WORTH:.0%} of the held-out error", dict(gains))
    return Advice(best, ADVICE[best].format(gain=gains[best]), dict(gains))
