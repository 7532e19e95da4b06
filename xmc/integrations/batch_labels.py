"""The `label` column of a training batch: which label each text is, and which labels are right for each query.

A row reads `[label row of each text column after the query ..., label rows of all positives ..., -1, -1, ...]`: data
loaders stack the column into one matrix, so every row has the width of the longest.
Shapes: B rows of a batch, T text columns after the query, N width of the positives, C scored labels, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xmc.api import LossInputs, Positives
from xmc.counted import counted
from xmc.errors import DataError
from xmc.ragged import offsets_of
from xmc.train.label_scope import sampled_labels

IntArray = np.ndarray[Any, np.dtype[np.int64]]
LabelScope = Literal["batch", "sampled", "all"]
PADDING = -1
_DATASET_HINT = "Make the data set with xmc.integrations.datasets.query_dataset or pair_dataset."


@dataclass(frozen=True)
class BatchLabels:
    """The decoded column: `text_rows_BT` names the label of each text, `positives_BN` is padded with -1."""

    text_rows_BT: IntArray
    positives_BN: IntArray

    @classmethod
    def from_column(cls, labels: Tensor | None, *, text_columns: int, label_count: int | None = None) -> BatchLabels:
        """Decode what the trainer hands to a loss; a vector is one positive for each query.

        Raises: DataError when there is no such column, it is not of whole numbers, it is too narrow, or a label row is
        below -1 or not below `label_count`.

        >>> BatchLabels.from_column(torch.tensor([[7, 7, 9], [2, 2, -1]]), text_columns=1).positives_BN.tolist()
        [[7, 9], [2, -1]]
        """
        if labels is None:
            raise DataError(
                "the batch has no column 'label', which names the positives of each query.", hint=_DATASET_HINT
            )
        if labels.dim() not in (1, 2) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(
                f"the column 'label' must hold lists of label rows, all of one length, got {labels.dtype} of shape "
                f"{tuple(labels.shape)}.",
                hint=_DATASET_HINT,
            )
        rows = np.asarray(labels.detach().cpu(), dtype=np.int64).reshape(len(labels), -1)
        if rows.shape[1] <= text_columns:
            raise DataError(
                f"the column 'label' has {counted(rows.shape[1], 'value')} a row, expected more than "
                f"{text_columns}: one for each "
                "text column after the query, then the positives.",
                hint=_DATASET_HINT,
            )
        text_rows_BT, positives_BN = rows[:, :text_columns], rows[:, text_columns:]
        limit = np.iinfo(np.int32).max if label_count is None else label_count
        if rows.min() < PADDING or text_rows_BT.min(initial=0) < 0 or rows.max() >= limit:
            raise DataError(
                f"the column 'label' holds values from {rows.min()} to {rows.max()}, label rows are 0..{limit - 1}, "
                "and -1 stands after the last positive."
            )
        return cls(text_rows_BT, positives_BN)

    def scored_texts(self) -> tuple[IntArray, IntArray]:
        """The labels among the texts, each once and ascending, and where each first stands, texts taken by column."""
        rows, first = np.unique(self.text_rows_BT.T.ravel(), return_index=True)
        return rows, first

    def scored_rows(
        self, scope: LabelScope, *, label_count: int, sample: int, generator: np.random.Generator
    ) -> tuple[IntArray, Tensor | None]:
        """The labels to score, ascending, and the log of the probability with which each came in (`sampled` only)."""
        if scope == "all":
            return np.arange(label_count), None
        if scope == "batch":
            rows = np.unique(self.positives_BN)
            return rows[rows != PADDING], None
        drawn = sampled_labels(self._positives(), labels=label_count, sample=sample, generator=generator)
        return np.asarray(drawn.label_rows, dtype=np.int64), drawn.log_inclusion_C

    def _positives(self) -> Positives:
        keep_BN = self.positives_BN != PADDING
        label_rows = self.positives_BN[keep_BN].astype(np.int32)
        offsets = offsets_of(keep_BN.sum(axis=1))
        return Positives(offsets, label_rows, np.ones(len(label_rows), dtype=np.float32))

    def loss_inputs(
        self, scores_BC: Tensor, scored_rows_C: IntArray, log_inclusion_C: Tensor | None = None
    ) -> LossInputs:
        """The scores of the batch with every pair that is positive, each once, whoever brought the label into it."""
        columns_BN = np.searchsorted(scored_rows_C, self.positives_BN).clip(max=len(scored_rows_C) - 1)
        batch_rows_P, places_P = np.nonzero(scored_rows_C[columns_BN] == self.positives_BN)
        pairs_P = np.unique(batch_rows_P * len(scored_rows_C) + columns_BN[batch_rows_P, places_P])
        rows_P, columns_P = np.divmod(pairs_P, len(scored_rows_C))
        device = scores_BC.device
        return LossInputs(
            scores_BC,
            torch.from_numpy(rows_P).to(device),
            torch.from_numpy(columns_P).to(device),
            torch.ones(len(pairs_P), device=device),
            None if log_inclusion_C is None else log_inclusion_C.to(device),
        )
