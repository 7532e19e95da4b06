"""Which labels a batch is scored against: all of them, or the batch's positives plus a random sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmc.api import Positives
from xmc.train.scorer import Pairs


@dataclass(frozen=True)
class Scope:
    """The scored labels (`label_rows` is None for all of them) and the batch's positive pairs in their columns."""

    label_rows: np.ndarray[Any, Any] | None
    pairs: Pairs


def all_labels(positives: Positives) -> Scope:
    """Every label: columns are label rows."""
    return Scope(None, _pairs(positives, positives.label_rows))


def sampled_labels(positives: Positives, *, labels: int, sample: int, generator: np.random.Generator) -> Scope:
    """The positives of the batch and `sample` labels drawn uniformly, each once, ascending.

    Every known positive of a query is marked as one wherever it was drawn from, so none becomes a false negative.
    """
    drawn = generator.integers(0, labels, size=min(sample, labels))
    label_rows = np.union1d(positives.label_rows, drawn)
    return Scope(label_rows, _pairs(positives, np.searchsorted(label_rows, positives.label_rows)))


def _pairs(positives: Positives, columns: np.ndarray[Any, Any]) -> Pairs:
    return Pairs(
        torch.from_numpy(positives.query_rows()),
        torch.from_numpy(columns.astype(np.int64)),
        torch.from_numpy(positives.weights),
    )
