"""The prior of a label: how often it was asked for in training, as a part of its score.

Shapes: L labels of the index, H hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmc.data.shards import read_table, write_table
from xmc.data.tables import LabelTable, label_table_to_arrow, read_labels

FILE_NAME = "train_queries.parquet"


@dataclass(frozen=True, eq=False)
class LabelPrior:
    """strength x log(1 + training queries) of each label; `neutral` in place of the logarithm of one that is new.

    A label that was there in training and was never asked for has log(1) = 0. Of one that was added since, or has
    another text, nothing is known: it has the mean logarithm of first shortlists, so that it neither gains nor loses.
    Reference: Menon et al. 2021, "Long-tail learning via logit adjustment", whose post-hoc correction takes away from
    balanced figures what this adds for those of the queries as they come.

    >>> LabelPrior(np.array([0, 9]), strength=0.5).of(np.array([1, 0, 1])).tolist()
    [1.1512925624847412, 0.0, 1.1512925624847412]
    """

    train_queries_L: np.ndarray[Any, Any]
    strength: float = 1.0
    neutral: float = 0.0

    def of(self, label_rows_H: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What is added to the score of each hit, (H,) float32; `train_queries_L` is -1 for a label that is new."""
        counts_H = self.train_queries_L[label_rows_H]
        logs_H = np.where(counts_H < 0, self.neutral, np.log1p(np.maximum(counts_H, 0)))
        return (self.strength * logs_H).astype(np.float32)

    def save(self, folder: Path, labels: LabelTable) -> None:
        """Write how many training queries each label has."""
        table = label_table_to_arrow(labels).append_column("train_queries", [self.train_queries_L])
        write_table(folder / FILE_NAME, table)


def load_prior(folder: Path, labels: LabelTable, *, strength: float, neutral: float) -> LabelPrior:
    """Open what `LabelPrior.save` wrote, for labels of which some may be new or edited, and in another order."""
    there = read_labels([folder / FILE_NAME])
    counts = read_table(folder / FILE_NAME)["train_queries"].to_pylist()
    count_of = dict(zip(zip(there.ids, there.texts, strict=True), counts, strict=True))
    pairs = zip(labels.ids, labels.texts, strict=True)
    counts_L = np.array([count_of.get(pair, -1) for pair in pairs], np.int64)
    return LabelPrior(counts_L, strength, neutral)
