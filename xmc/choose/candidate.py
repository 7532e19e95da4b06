"""One candidate judged from the log: every estimate with its interval, the gain over the log, how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from xmc.choose.estimators import ESTIMATORS, NEEDS_RANK_RATIOS, Array, Evidence, Terms, prefix_weights
from xmc.choose.overlap import Overlap, overlap_of
from xmc.counted import counted
from xmc.errors import DataError
from xmc.evaluate.figures import Figure, figures_of
from xmc.evaluate.measurement import Measurement
from xmc.evaluate.options import EvaluateOptions

LARGEST_WEIGHT = 1e100
Verdict: TypeAlias = Literal["better", "worse", "unclear", "unreliable", "refused"]


@dataclass(frozen=True)
class CandidateReport:
    """What the log says about one candidate.

    `estimates` by estimator; `gain` is that of the chosen one over the policy that made the log, on the same rows,
    `risk` its standard error, `chance_worse` how likely it is below 0 (normal approximation). `verdict`: `better` or
    `worse` when the interval of the gain says so, `unclear` when it does not, `unreliable` when `overlap` warns (see
    `notes`), `refused` when nothing can be said (`refusal`), and then the other fields are empty.
    """

    name: str
    verdict: Verdict
    estimates: Mapping[str, Figure] = field(default_factory=dict)
    gain: Figure | None = None
    risk: float | None = None
    chance_worse: float | None = None
    overlap: Overlap | None = None
    notes: tuple[str, ...] = ()
    refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "notes": list(self.notes)}


def judge_candidate(
    name: str, evidence: Evidence, *, estimator: str, outside: float, samples: int, seed: int
) -> CandidateReport:
    """Estimate a candidate by every estimator that the log allows, and its gain by `estimator`.

    Raises: DataError when no list of the log could have been shown by the candidate, or one has a weight beyond reason.
    """
    _require_weights(name, evidence)
    overlap = overlap_of(evidence.ratios_QK, outside=outside)
    if overlap.matched == 0:
        raise DataError(
            f"candidate '{name}' would have shown none of the {counted(overlap.rows, 'list')} of the log, which "
            "therefore says nothing of it.",
            hint="Judge it with --temperature above 0, or by a log of shorter lists or of a policy that explores more.",
        )
    terms_of = estimate_all(evidence)
    values_Q = terms_of[estimator].pseudo_values()
    gains_Q = values_Q - evidence.rewards_QK.sum(axis=1)
    figures = intervals({**terms_of, "gain": Terms(gains_Q, np.ones(len(gains_Q)))}, samples=samples, seed=seed)
    gain = figures.pop("gain")
    risk = standard_error(gains_Q)
    notes = tuple(overlap.warnings())
    return CandidateReport(
        name=name,
        verdict="unreliable" if notes else _verdict(gain),
        estimates=figures,
        gain=gain,
        risk=risk,
        chance_worse=_chance_below_zero(gain.value, risk),
        overlap=overlap,
        notes=notes,
    )


def _require_weights(name: str, evidence: Evidence) -> None:
    """Refuse weights of which sums and squares are no numbers any more: such a list was never drawn."""
    with np.errstate(over="ignore", invalid="ignore"):
        largest_Q = prefix_weights(evidence.ratios_QK).max(axis=1)
        if evidence.rank_ratios_QK is not None:
            largest_Q = np.maximum(largest_Q, evidence.rank_ratios_QK.max(axis=1))
    wild_Q = ~(largest_Q <= LARGEST_WEIGHT)
    if wild_Q.any():
        row = int(wild_Q.argmax())
        raise DataError(
            f"{counted(int(wild_Q.sum()), 'list')} of the log, such as that of row {row}, would count with a weight "
            f"above {LARGEST_WEIGHT:g} for candidate '{name}': what was drawn does not have such small propensities.",
            hint="Keep the chance with which each label was drawn, or leave such rows out.",
        )


def estimate_all(evidence: Evidence) -> dict[str, Terms]:
    """The terms of each estimator; those that need chances at a rank are left out where the log has none."""
    left_out = NEEDS_RANK_RATIOS if evidence.rank_ratios_QK is None else frozenset()
    return {name: estimate(evidence) for name, estimate in ESTIMATORS.items() if name not in left_out}


def intervals(terms_of: Mapping[str, Terms], *, samples: int, seed: int) -> dict[str, Figure]:
    """Each estimate with its 95 % interval by drawing the rows of the log again; all see the same draws."""
    numerators_QM = np.stack([terms.numerators_Q for terms in terms_of.values()], axis=1)
    denominators_QM = np.stack([terms.denominators_Q for terms in terms_of.values()], axis=1)
    measurement = Measurement(tuple(terms_of), numerators_QM, denominators_QM)
    return figures_of(measurement, EvaluateOptions(bootstrap_samples=samples, bootstrap_seed=seed))


def standard_error(values_Q: Array) -> float:
    """The standard error of the mean of one value a row."""
    return float(values_Q.std(ddof=1) / math.sqrt(len(values_Q))) if len(values_Q) > 1 else 0.0


def _chance_below_zero(value: float, error: float) -> float:
    if error == 0:
        return 0.5 if value == 0 else float(value < 0)
    return 0.5 * math.erfc(value / (error * math.sqrt(2)))


def _verdict(gain: Figure) -> Verdict:
    if gain.low is not None and gain.low > 0:
        return "better"
    return "worse" if gain.high is not None and gain.high < 0 else "unclear"
