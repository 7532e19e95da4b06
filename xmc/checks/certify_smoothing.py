"""The smoothing part of `xmc check certify`, for any encoder.

Shapes: Q queries, T radii, N values of k, L labels, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmc.checks.certify_bench import Bench, radius_name
from xmc.checks.smoothing import (
    Perturbations,
    Votes,
    certified_against_labels,
    half_width,
    smoothed_scores,
    smoothed_vectors,
)
from xmc.checks.text_edits import Floats
from xmc.encode.encoder import Role
from xmc.rounding_bounds import float32_product_error, rounding_bounds


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Lists of the smoothed ranker that are certified, and how good that ranker is."""

    certified_QTN: np.ndarray[Any, np.dtype[np.bool_]]
    precision_QN: Floats
    notes: tuple[str, ...]


def measure_smoothing(bench: Bench, side: Role, *, samples: int, confidence: float, steps: int) -> Smoothed:
    """Smooth one side, and certify the lists of the smoothed ranker against edits of that side."""
    perturbations = Perturbations(bench.substitutions, steps)
    measure = _by_votes if side == "query" else _by_scores
    return measure(bench, perturbations, samples, confidence)


def _by_votes(bench: Bench, perturbations: Perturbations, samples: int, confidence: float) -> Smoothed:
    """Queries under attack: the labels that are most often among the first k of a query's rewritings."""
    texts, positives = bench.queries.texts, bench.positives()
    variations_QT = _variations(bench, perturbations, texts)
    certified_QTN = np.zeros((len(texts), len(bench.radii), len(bench.ks)), dtype=bool)
    precision_QN = np.zeros((len(texts), len(bench.ks)))
    for row, text in enumerate(texts):
        drawn = perturbations.draw(text, samples, np.random.default_rng([bench.seed, row]))
        of_text = dict.fromkeys(drawn)
        answers = dict(zip(of_text, bench.rank(list(of_text), max(bench.ks)), strict=True))
        for column, k in enumerate(bench.ks):
            votes = Votes.of([answers[one] for one in drawn], k)
            precision_QN[row, column] = np.isin(votes.label_rows[:k], positives[row]).sum() / k
            for place, variation in enumerate(variations_QT[row].tolist()):
                certified_QTN[row, place, column] = votes.certified(
                    k, variation, labels=len(bench.labels), confidence=confidence
                )
        bench.progress(row + 1, len(texts))
    within = ", ".join(
        f"{share:.1%} at radius {radius_name(radius)}"
        for radius, share in zip(bench.radii, (variations_QT < 0.5).mean(axis=0).tolist(), strict=True)
    )
    note = (
        f"Smoothing of the query side: {samples:,} rewritings vote for the first k, confidence {confidence:g} for each "
        f"list; the lists are those of the smoothed ranker. No number of rewritings could certify more than {within}: "
        "the perturbation sets of the other queries' words have too little in common with those of their substitutes."
    )
    return Smoothed(certified_QTN, precision_QN, (note,))


def _by_scores(bench: Bench, perturbations: Perturbations, samples: int, confidence: float) -> Smoothed:
    """Labels under attack: by the mean score of a label's rewritings."""
    texts = bench.retriever.labels.texts
    means_LD = smoothed_vectors(
        texts,
        perturbations,
        lambda some: bench.embed(some, "label"),
        samples=samples,
        seed=bench.seed,
        progress=bench.progress,
    )
    units_QD = torch.nn.functional.normalize(bench.embed(bench.queries.texts), dim=1)
    scores_QL = smoothed_scores(units_QD, means_LD)
    rounding = rounding_bounds(1.0, 1.0, dimension=means_LD.shape[1], further=float32_product_error())
    width = half_width(samples, confidence, len(bench.labels)) + rounding
    variations_LT = _variations(bench, perturbations, texts)
    certified = [
        certified_against_labels(scores_QL.double().numpy(), variations_L, width, bench.ks)
        for variations_L in variations_LT.T
    ]
    note = (
        f"Smoothing of the label side: {samples:,} rewritings of each text, scores (1 + cosine) / 2 known to "
        f"±{width:.3f} with confidence {confidence:g} for each query; its lists are those of the smoothed ranker."
    )
    return Smoothed(np.stack(certified, axis=1), bench.precision(scores_QL), (note,))


def _variations(bench: Bench, perturbations: Perturbations, texts: Sequence[str]) -> Floats:
    """How much a smoothed value may change, (N, T)."""
    return np.array([[perturbations.variation(text, radius) for radius in bench.radii] for text in texts])
