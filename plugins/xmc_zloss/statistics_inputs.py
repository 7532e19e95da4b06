"""What a loss sees when no row of scores is ever computed: the positives' scores, the mean and the variance.

Shapes: Q queries, L labels, P (query, positive) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from xmc.api import LossInputs
from xmc_zloss.factored_batch import ScoreStatistics


@dataclass(frozen=True)
class StatisticsInputs(LossInputs):
    """The inputs of a loss that needs moments only; `scores_QC` has a shape and a dtype, but no content (device meta).

    >>> zeros_Q, one_P = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    >>> statistics = ScoreStatistics(one_P, zeros_Q, zeros_Q + 1)
    >>> pair = torch.tensor([0]), torch.tensor([2]), torch.ones(1)
    >>> inputs = StatisticsInputs.of(statistics, *pair, scores_like_LD=torch.ones(10, 2))
    >>> inputs.scores_QC.shape, [each.item() for each in inputs.moments()]
    (torch.Size([1, 10]), [1.0, 0.0, 1.0])
    """

    statistics: ScoreStatistics | None = None

    @classmethod
    def of(
        cls,
        statistics: ScoreStatistics,
        rows_P: Tensor,
        columns_P: Tensor,
        weights_P: Tensor,
        *,
        scores_like_LD: Tensor,
    ) -> StatisticsInputs:
        """The inputs for known statistics of the scores of all labels; the last says how many, and of what dtype."""
        shape = len(statistics.mean_Q), len(scores_like_LD)
        scores_QC = torch.empty(shape, dtype=scores_like_LD.dtype, device="meta")
        return cls(scores_QC, rows_P, columns_P, weights_P, statistics=statistics)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """As they were given."""
        if self.statistics is None:
            raise ValueError("StatisticsInputs needs statistics")
        return self.statistics

    @cached_property
    def positive_weight_sum_Q(self) -> Tensor:
        """Sum of the positives' weights per query, (Q,); 0 for a query without positives."""
        return self.sum_over_positives(torch.ones_like(self.positive_weights_P))
