"""The prior of a label: how often it was asked for in training, as a part of its score.

Shapes: L labels of the index, H hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmc.data.shards import read_table, write_table

FILE_NAME = "train_queries.parquet"


@dataclass(frozen=True, eq=False)
class LabelPrior:
    """strength x log(1 + training queries) of each label; `neutral` in place of the logarithm of one that is new.

    A label that was there in training and was never asked for has log(1) = 0. Of one that was added since nothing is
    known: it has the mean logarithm of first shortlists, so that it neither gains nor loses.
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

    def save(self, folder: Path, label_ids: list[str]) -> None:
        """Write how many training queries each label has."""
        import pyarrow as pa

        write_table(folder / FILE_NAME, pa.table({"label_id": label_ids, "train_queries": self.train_queries_L}))


def load_prior(folder: Path, label_ids: list[str], *, strength: float, neutral: float) -> LabelPrior:
    """Open what `LabelPrior.save` wrote, for labels of which some may be new, and in another order."""
    table = read_table(folder / FILE_NAME)
    count_of = dict(zip(table["label_id"].to_pylist(), table["train_queries"].to_pylist(), strict=True))
    counts_L = np.array([count_of.get(label_id, -1) for label_id in label_ids], np.int64)
    return LabelPrior(counts_L, strength, neutral)
