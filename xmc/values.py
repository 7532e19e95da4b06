"""The frozen values that cross module borders: what a loss gets, what an index answers.

Shapes: Q queries, C scored labels (a shortlist or all L), L labels, D width, P (query, positive) pairs, K results.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class LossInputs:
    """What a loss sees: raw scores and which of them belong to relevant labels.

    Relevance is held as P pairs, because Q x C is the size that must not be multiplied; a loss that prefers the dense
    form reads `relevance_QC`, which is built on first use (0 = negative, > 0 = weight of a positive).

    When the scored labels are a random sample of all, `log_inclusion_C` is the log of the probability with which each
    came in: 0 for a label that had to (a positive of the batch), below 0 for one that was drawn.

    Shapes: `scores_QC` (Q, C); `positive_rows_P` and `positive_columns_P` (P,) int64 sorted by row, then column, each
    pair once; `positive_weights_P` (P,) > 0; `log_inclusion_C` (C,) <= 0, or None when every label is scored.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.5]]))
    >>> inputs.positive_columns_P.tolist(), inputs.relevance_QC.tolist()
    ([1, 2], [[0.0, 1.0, 0.5]])
    """

    scores_QC: Tensor
    positive_rows_P: Tensor
    positive_columns_P: Tensor
    positive_weights_P: Tensor
    log_inclusion_C: Tensor | None = None

    @classmethod
    def from_dense(cls, scores_QC: Tensor, relevance_QC: Tensor) -> LossInputs:
        """The inputs for a dense relevance matrix of the same shape as the scores.

        Raises: ValueError when the shapes differ.
        """
        if scores_QC.shape != relevance_QC.shape:
            raise ValueError(f"scores {tuple(scores_QC.shape)} and relevance {tuple(relevance_QC.shape)} must agree")
        rows_P, columns_P = (relevance_QC > 0).nonzero(as_tuple=True)
        return cls(scores_QC, rows_P, columns_P, relevance_QC[rows_P, columns_P].to(scores_QC.dtype))

    @cached_property
    def relevance_QC(self) -> Tensor:
        """Dense relevance, (Q, C), same dtype and device as the scores; do not write into it."""
        import torch

        relevance_QC = torch.zeros(self.scores_QC.shape, dtype=self.scores_QC.dtype, device=self.scores_QC.device)
        relevance_QC[self.positive_rows_P, self.positive_columns_P] = self.positive_weights_P.to(relevance_QC.dtype)
        return relevance_QC

    @cached_property
    def positive_weight_sum_Q(self) -> Tensor:
        """Sum of the positives' weights per query, (Q,); 0 for a query without positives."""
        zero_Q = self.scores_QC.new_zeros(self.scores_QC.shape[0])
        return zero_Q.index_add(0, self.positive_rows_P, self.positive_weights_P.to(zero_Q.dtype))

    def log_sum_exp(
        self, over: Literal["negatives", "all"], *, temperature: float = 1.0, correct_sampling: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The positives' logits (P,) and the log of the sum of exp(logit) over the negatives or all labels (Q,).

        Same as `(scores_QC / temperature).masked_fill(relevance_QC > 0, -inf).logsumexp(dim=1)`, but fast over a row
        of all labels: nothing of size (Q, C) is kept but the scores. -inf for a query without negatives.

        `correct_sampling` divides each exp(logit) by the probability with which its label came into the sample, so that
        the sum (not its log) is on average that over all labels; where every label is scored it changes nothing.
        """
        from xmc.row_reduction import RowReduction, reduce_rows

        scores_QC = self.scores_QC
        if correct_sampling and self.log_inclusion_C is not None:
            scores_QC = scores_QC - (temperature * self.log_inclusion_C).to(scores_QC.dtype)
        reduction = RowReduction("log-sum-exp", skip_positives=over == "negatives", temperature=temperature)
        return reduce_rows(scores_QC, self.positive_rows_P, self.positive_columns_P, reduction)

    def softplus_sum(self, *, temperature: float = 1.0, bias: float = 0.0) -> tuple[Tensor, Tensor]:
        """The positives' logits (P,) and the sum of log(1 + exp(logit)) over the negatives (Q,)."""
        from xmc.row_reduction import RowReduction, reduce_rows

        reduction = RowReduction("softplus-sum", skip_positives=True, temperature=temperature, bias=bias)
        return reduce_rows(self.scores_QC, self.positive_rows_P, self.positive_columns_P, reduction)

    def top_k_logits(self, k_Q: Tensor, *, slope: float) -> Tensor:
        """Each positive's logit z = slope · score + t, with the t that makes Σ over labels of σ(z) equal to k, (P,).

        +inf where k is not below the number of labels. See `xmc.soft_threshold`.
        """
        from xmc.soft_threshold import top_k_logits

        return top_k_logits(self.scores_QC, self.positive_rows_P, self.positive_columns_P, k_Q, slope=slope)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """The positives' scores (P,), and mean and population variance of each query's scores (Q,), all in float64."""
        from xmc.row_moments import row_moments

        return row_moments(self.scores_QC, self.positive_rows_P, self.positive_columns_P)

    def sum_over_positives(self, values_P: Tensor, *, mean: bool = False) -> Tensor:
        """Weighted sum (or weighted mean) of one value per pair over the positives of each query, (Q,); 0 without any.

        >>> import torch
        >>> inputs = LossInputs.from_dense(torch.zeros(2, 3), torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.0, 0.0]]))
        >>> inputs.sum_over_positives(torch.tensor([2.0, 6.0]), mean=True).tolist()
        [5.0, 0.0]
        """
        weights_P = self.positive_weights_P.to(values_P.dtype)
        zero_Q = values_P.new_zeros(self.scores_QC.shape[0])
        if mean:
            weights_P = weights_P / zero_Q.index_add(0, self.positive_rows_P, weights_P)[self.positive_rows_P]
        return zero_Q.index_add(0, self.positive_rows_P, weights_P * values_P)


@dataclass(frozen=True)
class Positives:
    """The relevant label rows of Q queries, ragged: query i has `label_rows[offsets[i]:offsets[i + 1]]`.

    The same three arrays are a CSR matrix and an Arrow list column.
    Shapes: `offsets` (Q + 1,) int64 starting at 0; `label_rows` (P,) int32; `weights` (P,) float32 > 0.
    """

    offsets: np.ndarray[Any, Any]
    label_rows: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def counts(self) -> np.ndarray[Any, Any]:
        """Number of positives of each query, (Q,) int64."""
        import numpy as np

        return np.diff(self.offsets)

    def take(self, query_rows: np.ndarray[Any, Any]) -> Positives:
        """The positives of the given queries, in the given order."""
        import numpy as np

        counts = self.counts()[query_rows]
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        source = np.repeat(self.offsets[query_rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Positives(offsets, self.label_rows[source], self.weights[source])

    def query_rows(self) -> np.ndarray[Any, Any]:
        """For each of the P pairs the row of its query, (P,) int64."""
        import numpy as np

        return np.repeat(np.arange(len(self)), self.counts())


@dataclass(frozen=True)
class Hits:
    """The answers to Q queries, ragged, best first; a query with fewer than k answers has a shorter list, never a -1.

    Order: score descending, then label row ascending (an index holds its labels sorted by `label_id`).
    Shapes: `offsets` (Q + 1,) int64; `label_rows` (H,) int64; `scores` (H,) float32.
    """

    offsets: np.ndarray[Any, Any]
    label_rows: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Yield (label_rows, scores) of each query."""
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.label_rows[start:stop], self.scores[start:stop]


class Hit(NamedTuple):
    """One answer: `rank` counts from 1, `score` is higher for better and may be negative.

    `probability` is that of being relevant, None until `xmc check calibrate` has been run.
    """

    rank: int
    label_id: str
    text: str
    score: float
    probability: float | None = None


@dataclass(frozen=True)
class IndexReport:
    """What an index backend did: enough to judge, repeat and size it.

    `options` are the backend's fields, `memory_bytes` what the index holds in memory, `build_s` wall seconds.
    """

    backend: str
    similarity: str
    labels: int
    dimension: int
    device_used: str
    memory_bytes: int
    build_s: float
    exact: bool
    options: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class RunInfo:
    """A run as observers see it: its folder, its resolved configuration and its sizes. Plain data, not the trainer."""

    folder: str
    config: dict[str, Any]
    queries: int = 0
    labels: int = 0
