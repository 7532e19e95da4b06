"""A data set without the labels that were removed from a run, so that nobody is judged by what cannot be found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xmc.counted import counted
from xmc.data.dataset import Dataset, QueryTable
from xmc.errors import DataError
from xmc.ragged import kept_offsets
from xmc.retrieve.label_edits import LabelEdits
from xmc.values import Positives


def without_removed(data: Dataset, edits: LabelEdits) -> Dataset:
    """The data set without the removed labels, also as positives; itself when it has none of them.

    Held-out queries that have no other positive are left out, and a note says so. Training queries all stay.
    """
    removed = edits.removed
    stays_L = np.array([label_id not in removed for label_id in data.labels.ids], dtype=bool)
    if stays_L.all():
        return data
    splits, notes = {}, list(data.notes)
    for split, queries in data.splits.items():
        kept = _kept_positives(queries, stays_L)
        lonely_Q = kept.positives.counts() == 0
        if split != "train" and lonely_Q.any():
            notes.append(
                f"{split}: {lonely_Q.sum():,} of {counted(len(kept), 'query')} left out, with no label but removed ones"
            )
            kept = kept.take(np.flatnonzero(~lonely_Q))
        splits[split] = kept
    labels = data.labels.take(np.flatnonzero(stays_L))
    return replace(data, labels=labels, splits=splits, notes=tuple(notes))


def require_positives(queries: QueryTable, split: str) -> None:
    """Refuse queries by which nothing can be judged. Raises: DataError when none of them has a positive."""
    if not len(queries.positives.label_rows):
        raise DataError(
            f"no query of the split '{split}' has a positive among the labels that the run has now.",
            hint="Were all of them removed, or given other texts? Put some back (xmc labels put), or give the data "
            "other queries.",
        )


def _kept_positives(queries: QueryTable, stays_L: np.ndarray[tuple[int], np.dtype[np.bool]]) -> QueryTable:
    """The queries with those positives that stay, by their new label rows."""
    return QueryTable(queries.ids, queries.texts, kept_positives(queries.positives, stays_L), queries.bag_ids)


def kept_positives(truth: Positives, stays_L: np.ndarray[Any, Any]) -> Positives:
    """The positives among the marked labels, by their rows in a table of these alone.

    >>> truth = Positives(np.array([0, 2, 3]), np.array([0, 2, 1]), np.ones(3, np.float32))
    >>> kept_positives(truth, np.array([False, True, True])).label_rows.tolist()
    [1, 0]
    """
    stays_P = stays_L[truth.label_rows]
    offsets = kept_offsets(truth.offsets, stays_P)
    new_rows_L = (np.cumsum(stays_L) - 1).astype(truth.label_rows.dtype)
    return Positives(offsets, new_rows_L[truth.label_rows[stays_P]], truth.weights[stays_P])
