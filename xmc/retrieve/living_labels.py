"""The label set of a run: the labels of its index with the edits since.

Shapes: B labels of the index (base), N labels that it lacks (added), C labels in all, ordered by id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from xmc.data.tables import LabelTable
from xmc.retrieve.label_edits import LabelEdits

IntArray = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class LivingLabels:
    """Which label row each label of the index and each added one has; a replaced label is one removed and one added.

    `base_rows_B` is -1 for labels of the index that are gone; both arrays ascend, so that equal scores stay in the
    order of the ids.
    """

    labels: LabelTable
    base_rows_B: IntArray
    added_rows_N: IntArray

    @property
    def added(self) -> LabelTable:
        """The labels that the index lacks, in the order of their ids."""
        return self.labels.take(self.added_rows_N)

    @property
    def removed(self) -> int:
        """How many labels of the index are gone or replaced."""
        return int((self.base_rows_B < 0).sum())


def live_labels(base: LabelTable, own: Mapping[str, str], edits: LabelEdits) -> LivingLabels | None:
    """The label set, None when the index has it all; `own` names the base labels with a given vector.

    Naive: `labels = sorted(edits.applied(base))`.
    """
    gone: list[int] = []
    added: list[tuple[str, str]] = []
    for label_id in sorted(edits.edits):
        edit = edits.edits[label_id]
        row = find(base, label_id)
        if row >= 0 and (edit.text, edit.own) == (base.texts[row], own.get(label_id, "")):
            continue  # the index was built with this edit
        if row >= 0:
            gone.append(row)
        if edit.text is not None:
            added.append((label_id, edit.text))
    return _merged(base, np.array(gone, dtype=np.int64), added) if gone or added else None


def find(labels: LabelTable, label_id: str) -> int:
    """The row of an id in a table ordered by id, -1 when it is not there.

    >>> find(LabelTable(["a", "c"], ["", ""]), "c"), find(LabelTable(["a", "c"], ["", ""]), "b")
    (1, -1)
    """
    ids = labels.ids
    row = bisect_left(ids, label_id)
    return row if row < len(ids) and ids[row] == label_id else -1


def _merged(base: LabelTable, gone: IntArray, added: list[tuple[str, str]]) -> LivingLabels:
    stays_B = np.ones(len(base), dtype=bool)
    stays_B[gone] = False
    places_N = np.array([bisect_left(base.ids, label_id) for label_id, _ in added], dtype=np.int64)
    kept_before_B = np.concatenate(([0], np.cumsum(stays_B)))
    added_rows_N = kept_before_B[places_N] + np.arange(len(added))
    added_before_B = np.searchsorted(places_N, np.arange(len(base)), side="right")
    base_rows_B = np.where(stays_B, kept_before_B[:-1] + added_before_B, -1)
    places = kept_before_B[places_N].tolist()
    kept = [base.ids, base.texts]
    if len(gone):
        kept = [list(compress(column, stays_B.tolist())) for column in kept]
    new = [label_id for label_id, _ in added], [text for _, text in added]
    ids, texts = (_inserted(*columns, places) for columns in zip(kept, new, strict=True))
    return LivingLabels(LabelTable(ids, texts), base_rows_B, added_rows_N)


def _inserted(values: list[str], new: list[str], places: list[int]) -> list[str]:
    """The values with each new one before the value that stands at its place; places ascend.

    >>> _inserted(["a", "d"], ["b", "c"], [1, 1])
    ['a', 'b', 'c', 'd']
    """
    merged: list[str] = []
    start = 0
    for place, value in zip(places, new, strict=True):
        if start < place:
            merged += values[start:place]
        merged.append(value)
        start = place
    return merged + values[start:]
