"""Which labels a batch is scored against: all, or the batch's positives, mined labels and a random sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmc.api import Hits, Positives, TeacherScores
from xmc.sent import sent
from xmc.train.scorer import Pairs


@dataclass(frozen=True)
class Scope:
    """The scored labels (`label_rows` is None for all of them) and the batch's positive pairs in their columns.

    `log_inclusion_C` is the log of the probability with which each scored label came in, None for all of them.
    """

    label_rows: np.ndarray[Any, Any] | None
    pairs: Pairs
    log_inclusion_C: torch.Tensor | None = None

    def to(self, device: torch.device) -> Scope:
        """The same scope with its tensors on another device."""
        log_inclusion_C = None if self.log_inclusion_C is None else sent(self.log_inclusion_C, device)
        return Scope(self.label_rows, self.pairs.to(device), log_inclusion_C)


def all_labels(positives: Positives, teacher: Hits | None = None) -> Scope:
    """Every label: columns are label rows."""
    return Scope(None, _pairs(positives, positives.label_rows, _teacher(teacher, None)))


def sampled_labels(
    positives: Positives,
    *,
    labels: int,
    sample: int,
    generator: np.random.Generator,
    hard_negatives: np.ndarray[Any, Any] | None = None,
    teacher: Hits | None = None,
) -> Scope:
    """The positives of the batch, its `hard_negatives`, its teacher's shortlists and `sample` labels drawn uniformly.

    Each once, ascending.

    Every known positive of a query is marked as one wherever it was drawn from, so none becomes a false negative.
    Given the batch, positives, mined labels and shortlists are in for certain, and any other label with probability
    1 − (1 − 1 / labels)^draws.
    """
    certain = positives.label_rows if hard_negatives is None else np.union1d(positives.label_rows, hard_negatives)
    certain = certain if teacher is None else np.union1d(certain, teacher.label_rows)
    draws = min(sample, labels)
    drawn = generator.integers(0, labels, size=draws)
    label_rows = np.union1d(certain, drawn)
    log_inclusion_C = torch.full((len(label_rows),), math.log1p(-((1 - 1 / labels) ** draws)))
    log_inclusion_C[np.searchsorted(label_rows, certain)] = 0.0
    columns = np.searchsorted(label_rows, positives.label_rows)
    return Scope(label_rows, _pairs(positives, columns, _teacher(teacher, label_rows)), log_inclusion_C)


def _pairs(positives: Positives, columns: np.ndarray[Any, Any], teacher: TeacherScores | None) -> Pairs:
    return Pairs(
        torch.from_numpy(positives.query_rows()),
        torch.from_numpy(columns.astype(np.int64)),
        torch.from_numpy(positives.weights),
        teacher=teacher,
    )


def _teacher(teacher: Hits | None, label_rows: np.ndarray[Any, Any] | None) -> TeacherScores | None:
    if teacher is None:
        return None
    columns = teacher.label_rows if label_rows is None else np.searchsorted(label_rows, teacher.label_rows)
    columns_T = torch.from_numpy(columns.astype(np.int64))
    return TeacherScores(torch.from_numpy(teacher.query_rows()), columns_T, torch.from_numpy(teacher.scores))
