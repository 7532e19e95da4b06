"""How far a log can speak about a candidate, and warnings where it cannot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xmc.choose.estimators import Array, effective_rows, list_weights
from xmc.counted import counted

LEAST_EFFECTIVE = 100.0  # rows of equal weight; a click rate of 20 % is then known to 8 percentage points
MOST_OF_ONE = 0.05  # share of all weight that one row may have
MOST_OUTSIDE = 0.1  # share of what the run would show that was no candidate
ERRORS = 4.0  # standard errors that the mean weight may be away from 1


@dataclass(frozen=True)
class Overlap:
    """What the weights of the whole lists say about how alike candidate and log are.

    `matched`: share of the rows whose list the candidate could have shown. `effective_rows`: their effective sample
    size. `mean_weight`: 1 on average, when the propensities are right and the log could show all that the candidate
    does; `mean_weight_error` its standard error. `largest_weight`: the largest, and `largest_share` of the sum.
    `outside`: share of the labels that the run itself would show which were no candidates in the log.
    """

    rows: int
    matched: float
    effective_rows: float
    mean_weight: float
    mean_weight_error: float
    largest_weight: float
    largest_share: float
    outside: float

    def warnings(self) -> list[str]:
        """A sentence for each thing that is wrong."""
        found = []
        if self.effective_rows < LEAST_EFFECTIVE:
            found.append(
                f"its lists are too unlike those of the log: {counted(self.rows, 'row says', 'rows say')} "
                f"as much as {self.effective_rows:.0f} (at least {LEAST_EFFECTIVE:.0f} are needed)"
            )
        if abs(self.mean_weight - 1) > ERRORS * self.mean_weight_error:
            found.append(
                f"the weights average to {self.mean_weight:.2f}, not 1: the propensities are wrong, or it shows labels"
                " that the log never shows"
            )
        if self.largest_share > MOST_OF_ONE:
            found.append(
                f"one row has {100 * self.largest_share:.0f} % of all weight (weight {self.largest_weight:.3g})"
            )
        if self.outside > MOST_OUTSIDE:
            found.append(
                f"{100 * self.outside:.0f} % of what the run would show were no candidates in the log, which knows"
                " nothing of them: it is judged as a re-ranking of the candidates"
            )
        return found


def overlap_of(ratios_QK: Array, *, outside: float) -> Overlap:
    """Measure the overlap of a candidate with the log.

    >>> overlap = overlap_of(np.array([[2.0], [0.0], [1.0], [1.0]]), outside=0.0)
    >>> overlap.matched, overlap.mean_weight, round(overlap.effective_rows, 2), overlap.largest_share
    (0.75, 1.0, 2.67, 0.5)
    """
    weights_Q = list_weights(ratios_QK)
    rows, total, largest = len(weights_Q), float(weights_Q.sum()), float(weights_Q.max())
    error = float(weights_Q.std(ddof=1)) / np.sqrt(rows) if rows > 1 else 0.0
    return Overlap(
        rows=rows,
        matched=float((weights_Q > 0).mean()),
        effective_rows=effective_rows(weights_Q),
        mean_weight=total / rows,
        mean_weight_error=max(float(error), 1e-9),  # rounding, where the candidate is the policy that made the log
        largest_weight=largest,
        largest_share=largest / total if total > 0 else 0.0,
        outside=outside,
    )
