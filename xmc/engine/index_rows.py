"""The labels of a data set as rows of a run's index, which has its labels in the order of their ids.

Shapes: L labels of the data set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc.counted import counted
from xmc.data.dataset import Dataset
from xmc.data.tables import LabelTable
from xmc.errors import DataError
from xmc.ragged import kept_offsets
from xmc.retrieve.retriever import Retriever
from xmc.values import Positives


def index_rows(data: Dataset, retriever: Retriever) -> np.ndarray[Any, Any]:
    """For each label row of the data set its row in the index, (L,) int64.

    Raises: DataError when the index lacks a label of the data set.
    """
    row_of_id = {label_id: row for row, label_id in enumerate(retriever.labels.ids)}
    missing = [label_id for label_id in data.labels.ids if label_id not in row_of_id]
    if missing:
        raise DataError(
            f"the index lacks {counted(len(missing), 'label')} of data set '{data.name}', such as '{missing[0]}'.",
            hint="The data changed after the index was built: run xmc index again.",
        )
    return np.array([row_of_id[label_id] for label_id in data.labels.ids], dtype=np.int64)


def in_index(positives: Positives, index_rows_L: np.ndarray[Any, Any]) -> Positives:
    """The positives, in their order, by rows of the index in place of those of the data set."""
    return Positives(positives.offsets, index_rows_L[positives.label_rows], positives.weights)


def same_labels(data: LabelTable, labels: LabelTable) -> np.ndarray[Any, Any]:
    """For each label of the data its row among the `labels` of an index, -1 for one that is not there any more.

    With another text it is another label, for which no training query was asked.

    >>> same_labels(LabelTable(["a", "b"], ["one", "two"]), LabelTable(["a", "b"], ["other", "two"])).tolist()
    [-1, 1]
    """
    row_of = {pair: row for row, pair in enumerate(zip(labels.ids, labels.texts, strict=True))}
    return np.array([row_of.get(pair, -1) for pair in zip(data.ids, data.texts, strict=True)], dtype=np.int64)


def among(positives: Positives, rows_L: np.ndarray[Any, Any]) -> Positives:
    """The positives whose label has a row, by that; -1 is none."""
    rows_P = rows_L[positives.label_rows]
    kept_P = rows_P >= 0
    return Positives(kept_offsets(positives.offsets, kept_P), rows_P[kept_P], positives.weights[kept_P])


def train_counts(data: Dataset, index_rows_L: np.ndarray[Any, Any], *, labels: int) -> np.ndarray[Any, Any]:
    """The number of training queries of each of the `labels` labels of the index, 0 for one that the data set lacks."""
    counts = np.zeros(labels, np.int64)
    counts[index_rows_L] = data.train_counts()
    return counts
