"""Mann-Whitney loss: each positive of the batch is compared with each negative of the batch, across queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import LossInputs, require_positive, require_share
from xmc_mw.histogram import negatives_histogram
from xmc_mw.pair_kernel import weighted_softplus

MAX_AUTO_PAIRS = 2**22


@dataclass(frozen=True)
class MannWhitney:
    """The mean over all pairs (positive p, negative n) of the batch of softplus((s_n − s_p) / temperature).

    A pair may come from two queries: this is what makes scores of different queries comparable, which softmax losses do
    not (they are blind to a number added to all scores of a query). With AoC = 1 − AUC, the share of pairs in the wrong
    order, AoC ≤ loss / log 2 at any temperature. Where positives have weights, it is the mean with those weights.

    The value of a query is Q · (the part of that mean that belongs to its positives), so that the mean of the values
    over the Q queries is the pool's mean. A query without positives gives 0, but its negatives are in the pool: from
    them the others learn that nothing there should score high. A batch of one class only gives 0 and no gradient.

    `form`: `pairs` compares each pair; `histogram` puts the negatives on a grid of nodes `bin_width · temperature`
    apart, each shared between its two neighbours, which costs negatives + positives · nodes and overestimates each pair
    by at most `bin_width² / 32` (0.0003 as set; by nothing at a node); `auto` compares pairs up to 4 million.
    `mix`: so much of the decoupled softmax of the same temperature goes in, (1 − mix) · Mann-Whitney + mix · softmax.
    It orders the top of each query's list better. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when an option is outside its range.
    Reference: Sheikholeslami et al., arXiv 2510.00137, 2025; there the sum over the negatives is not averaged.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[0.5, 0.4], [0.9, 0.8]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    >>> [round(value, 2) for value in MannWhitney(temperature=0.1)(inputs).tolist()]  # 0.5 is below 0.8
    [1.68, 0.16]
    """

    temperature: float = 0.05
    form: Literal["auto", "pairs", "histogram"] = "auto"
    bin_width: float = 0.1
    mix: float = 0.0

    claims: ClassVar[frozenset[str]] = frozenset({"positives_do_not_compete", "skips_labels"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature", "bin_width")
        require_share(self, "mix")
        if self.form not in ("auto", "pairs", "histogram"):
            raise ValueError(f"form must be 'auto', 'pairs' or 'histogram', got {self.form!r}")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        if self.mix == 0:
            return self._pooled(inputs)
        softmax_Q = self._decoupled_softmax(inputs)
        return softmax_Q if self.mix == 1 else (1 - self.mix) * self._pooled(inputs) + self.mix * softmax_Q

    def _pooled(self, inputs: LossInputs) -> Tensor:
        scores_QC, pairs = inputs.scores_QC, (inputs.positive_rows_P, inputs.positive_columns_P)
        dtype = inputs.working_dtype
        positives_P = scores_QC[pairs].to(dtype) / self.temperature
        negatives = int(inputs.negative_counts_Q.sum())
        if len(positives_P) == 0 or negatives == 0:
            return inputs.sum_over_positives(positives_P * 0)
        if self.form == "pairs" or (self.form == "auto" and len(positives_P) * negatives <= MAX_AUTO_PAIRS):
            is_negative_QC = inputs.counted_QC.clone()
            is_negative_QC[pairs] = False
            points = scores_QC[is_negative_QC].to(dtype) / self.temperature
            weights = points.new_full(points.shape, 1 / negatives)
        else:
            points, weights = negatives_histogram(inputs, temperature=self.temperature, bin_width=self.bin_width)
        loss_Q = inputs.sum_over_positives(weighted_softplus(positives_P, points, weights))
        return loss_Q * (scores_QC.shape[0] / inputs.positive_weights_P.to(dtype).sum())

    def _decoupled_softmax(self, inputs: LossInputs) -> Tensor:
        logits_P, log_negatives_Q = inputs.log_sum_exp("negatives", temperature=self.temperature)
        loss_P = -logsigmoid(logits_P - log_negatives_Q[inputs.positive_rows_P])
        return inputs.sum_over_positives(loss_P, mean=True)
