"""All metrics of one group of queries, per query, in the form that intervals can be made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xmc.errors import PluginError
from xmc.evaluate.ndcg import graded_ndcg_at_k, ndcg_at_k
from xmc.evaluate.options import EvaluateOptions
from xmc.evaluate.precision import precision_at_k
from xmc.evaluate.propensity import RatioOfSums, psndcg_at_k, psp_at_k
from xmc.evaluate.recall import recall_at_k
from xmc.evaluate.reciprocal_rank import reciprocal_rank_at_k
from xmc.evaluate.relevance import JudgedHits, at_ranks, ideal_at_ranks

Metric: TypeAlias = Callable[[NDArray[Any], NDArray[Any], int], NDArray[Any]]
"""`metric(relevant_QK, positive_counts_Q, k) -> values_Q`: what the built-in metrics are and a plugin declares."""

BUILTIN_METRICS: Mapping[str, Metric] = {
    "P": precision_at_k,
    "R": recall_at_k,
    "nDCG": ndcg_at_k,
    "MRR": reciprocal_rank_at_k,
}
OTHER_METRICS = ("graded-nDCG", "PSP", "PSnDCG")  # need more than the three arguments of a `Metric`


@dataclass(frozen=True)
class Measurement:
    """M figures of Q queries; each figure is `sum of numerators / sum of denominators`, a mean having denominators 1.

    Shapes: `numerators_QM`, `denominators_QM` (Q, M) float64; `names` M names such as `P@5`.
    """

    names: tuple[str, ...]
    numerators_QM: NDArray[Any]
    denominators_QM: NDArray[Any]

    def values(self) -> NDArray[np.float64]:
        """The M figures, (M,); only for Q > 0."""
        return self.numerators_QM.sum(axis=0) / self.denominators_QM.sum(axis=0)


def measure(
    judged: JudgedHits,
    inverse_propensity_L: NDArray[Any] | None,
    *,
    options: EvaluateOptions,
    extra_metrics: Mapping[str, Metric],
) -> Measurement:
    """Every metric at every k for the queries that have a positive, at least one; the others are left out.

    Without inverse propensities PSP and PSnDCG are left out.

    Raises: PluginError when an extra metric has a taken name, fails, or answers anything but one finite number per
    query.
    """
    ks = sorted(set(options.ks))
    asked_Q = judged.positives.counts() > 0
    counts_Q = judged.positives.counts()[asked_Q]
    relevant_QK = at_ranks(judged.relevance_H > 0, judged.hits.offsets, ks[-1])[asked_Q]
    relevant_QK.setflags(write=False)  # a plugin's metric must not change what the next one sees
    counts_Q.setflags(write=False)
    figures = _mean_figures(relevant_QK, counts_Q, ks, extra_metrics)
    if options.graded_ndcg:
        gains_QK, ideal_QK = _gains(judged, judged.relevance_H, judged.positives.weights, asked_Q, ks[-1])
        figures |= {f"graded-nDCG@{k}": _mean(graded_ndcg_at_k(gains_QK, ideal_QK, k)) for k in ks}
    if inverse_propensity_L is not None:
        found_H = np.where(judged.relevance_H > 0, inverse_propensity_L[judged.hits.label_rows], 0.0)
        truth_P = inverse_propensity_L[judged.positives.label_rows]
        gains_QK, ideal_QK = _gains(judged, found_H, truth_P, asked_Q, ks[-1])
        figures |= {f"PSP@{k}": psp_at_k(gains_QK, ideal_QK, k) for k in ks}
        figures |= {f"PSnDCG@{k}": psndcg_at_k(gains_QK, ideal_QK, counts_Q, k) for k in ks}
    return Measurement(
        tuple(figures),
        np.stack([figure.numerator_Q for figure in figures.values()], axis=1),
        np.stack([figure.denominator_Q for figure in figures.values()], axis=1),
    )


def _gains(
    judged: JudgedHits, found_H: NDArray[Any], truth_P: NDArray[Any], asked_Q: NDArray[np.bool_], k: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    gains_QK = at_ranks(found_H, judged.hits.offsets, k)[asked_Q]
    return gains_QK, ideal_at_ranks(truth_P, judged.positives.offsets, k)[asked_Q]


def _mean(values_Q: NDArray[Any]) -> RatioOfSums:
    return RatioOfSums(values_Q, np.ones(len(values_Q)))


def _mean_figures(
    relevant_QK: NDArray[Any], counts_Q: NDArray[Any], ks: list[int], extra_metrics: Mapping[str, Metric]
) -> dict[str, RatioOfSums]:
    taken = sorted(set(extra_metrics) & {*BUILTIN_METRICS, *OTHER_METRICS})
    if taken:
        raise PluginError(f"metric name '{taken[0]}' is taken by a built-in metric.", hint="Declare it under another.")
    figures = {
        f"{name}@{k}": _mean(metric(relevant_QK, counts_Q, k)) for name, metric in BUILTIN_METRICS.items() for k in ks
    }
    for name, metric in extra_metrics.items():
        figures |= {f"{name}@{k}": _mean(_answer_of_plugin(name, metric, relevant_QK, counts_Q, k)) for k in ks}
    return figures


def _answer_of_plugin(
    name: str, metric: Metric, relevant_QK: NDArray[Any], counts_Q: NDArray[Any], k: int
) -> NDArray[np.float64]:
    """What a plugin's metric answers, once it is known to be one finite number per query."""
    try:
        values_Q = np.asarray(metric(relevant_QK, counts_Q, k), dtype=np.float64)
    except Exception as error:
        raise PluginError(f"metric '{name}' failed at k = {k}: {type(error).__name__}: {error}.") from error
    if values_Q.shape != counts_Q.shape:
        raise PluginError(f"metric '{name}' answered shape {values_Q.shape}; one value per query is {counts_Q.shape}.")
    if not np.isfinite(values_Q).all():
        raise PluginError(f"metric '{name}' answered a NaN or infinite value; every query it sees has a positive.")
    return values_Q
