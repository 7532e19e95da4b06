"""The smoothing part of `xmc check certify`, for any encoder.

Shapes: Q queries, T radii, N values of k, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmc.checks.certify_bench import Bench
from xmc.checks.smoothing import (
    Perturbations,
    certified_against_labels,
    certified_against_queries,
    half_width,
    smoothed_scores,
    smoothed_vectors,
)
from xmc.checks.text_edits import Floats
from xmc.encode.encoder import Role


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Lists of the smoothed ranker that are certified, and how good that ranker is."""

    certified_QTN: np.ndarray[Any, np.dtype[np.bool_]]
    precision_QN: Floats
    notes: tuple[str, ...]


def measure_smoothing(bench: Bench, side: Role, *, samples: int, confidence: float) -> Smoothed:
    """Smooth one side, and certify the lists of the smoothed ranker against edits of that side."""
    perturbations = Perturbations(bench.substitutions)
    texts = bench.queries.texts if side == "query" else bench.retriever.labels.texts
    means_ND = smoothed_vectors(
        texts,
        perturbations,
        lambda some: bench.embed(some, side),
        samples=samples,
        seed=bench.seed,
        progress=bench.progress,
    )
    if side == "query":
        scores_QL = smoothed_scores(means_ND, torch.nn.functional.normalize(bench.labels.labels_LD, dim=1))
    else:
        units_QD = torch.nn.functional.normalize(bench.embed(bench.queries.texts), dim=1)
        scores_QL = smoothed_scores(units_QD, means_ND)
    width = half_width(samples, confidence, len(bench.labels))
    certify = certified_against_queries if side == "query" else certified_against_labels
    certified = []
    for radius in bench.radii:
        variations_N = np.array([perturbations.variation(text, radius) for text in texts])
        certified.append(certify(scores_QL.double().numpy(), variations_N, width, bench.ks))
    note = (
        f"Smoothing of the {side} side: {samples:,} rewritings of each text, scores (1 + cosine) / 2 known to "
        f"±{width:.3f} with confidence {confidence:g} for each query; its lists are those of the smoothed ranker."
    )
    return Smoothed(np.stack(certified, axis=1), bench.precision(scores_QL), (note,))
