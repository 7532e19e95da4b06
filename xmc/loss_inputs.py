"""What a loss gets: the scores of a batch, which of them belong to relevant labels, and fast ways to reduce them.

Shapes: Q queries, C scored labels (a shortlist or all), P (query, positive) pairs, S skipped (query, label) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xmc.row_reduction import Skipped
    from xmc.teacher_scores import TeacherScores


@dataclass(frozen=True)
class LossInputs:
    """What a loss sees: raw scores and which of them belong to relevant labels.

    Relevance is held as P pairs, because Q x C is the size that must not be multiplied; a loss that prefers the dense
    form reads `relevance_QC`, which is built on first use (0 = negative, > 0 = weight of a positive).

    When the scored labels are a random sample of all, `log_inclusion_C` is the log of the probability with which each
    came in: 0 for a label that had to (a positive of the batch), below 0 for one that was drawn.

    Skipped pairs are neither positives nor negatives: the value must be as if that query were not scored against that
    label at all, the gradient there 0. All reductions below leave them out; a loss that reads the scores itself asks
    `counted_QC`. A loss that keeps to this says so by the claim `skips_labels`, else it is never given any.

    `row_state_Q` is what a loss with `next_row_state` keeps for each training query; None is the start value.

    A loss asks for more by its attribute `needs`, a set of names: "teacher" for `teacher`, a shortlist of labels for
    each query with the scores that a teacher gave them; "norms" for the lengths of the embeddings that the scores are
    products of, `query_norms_Q` with gradient and `label_norms_C` without (None = they all have length 1).

    `bags_Q` numbers the bag of each query, whole bags only: its queries have one label together, which stands in each
    of their rows. None where queries have labels of their own; a `row` loss is never told.

    Shapes: `scores_QC` (Q, C); `positive_rows_P` and `positive_columns_P` (P,) int64 sorted by row, then column, each
    pair once; `positive_weights_P` (P,) > 0; `log_inclusion_C` (C,) <= 0, or None when every label is scored;
    `skipped_rows_S` and `skipped_columns_S` (S,) int64 sorted by row, none of them a positive, or None; `row_state_Q`
    (Q,) or None; `query_norms_Q` (Q,) and `label_norms_C` (C,), or None; `bags_Q` (Q,) int64 or None.

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
    skipped_rows_S: Tensor | None = None
    skipped_columns_S: Tensor | None = None
    row_state_Q: Tensor | None = None
    teacher: TeacherScores | None = None
    query_norms_Q: Tensor | None = None
    label_norms_C: Tensor | None = None
    bags_Q: Tensor | None = None

    @classmethod
    def from_dense(cls, scores_QC: Tensor, relevance_QC: Tensor) -> LossInputs:
        """The inputs for a dense relevance matrix of the same shape as the scores.

        Raises: ValueError when the shapes differ.
        """
        if scores_QC.shape != relevance_QC.shape:
            raise ValueError(f"scores {tuple(scores_QC.shape)} and relevance {tuple(relevance_QC.shape)} must agree")
        rows_P, columns_P = (relevance_QC > 0).nonzero(as_tuple=True)
        return cls(scores_QC, rows_P, columns_P, relevance_QC[rows_P, columns_P].to(scores_QC.dtype))

    @property
    def working_dtype(self) -> torch.dtype:
        """In what precision a loss works and answers: that of the scores, but at least float32."""
        from xmc.row_reduction import working_dtype

        return working_dtype(self.scores_QC)

    @cached_property
    def relevance_QC(self) -> Tensor:
        """Dense relevance, (Q, C), same dtype and device as the scores, 0 at skipped pairs; do not write into it."""
        import torch

        relevance_QC = torch.zeros(self.scores_QC.shape, dtype=self.scores_QC.dtype, device=self.scores_QC.device)
        relevance_QC[self.positive_rows_P, self.positive_columns_P] = self.positive_weights_P.to(relevance_QC.dtype)
        return relevance_QC

    @cached_property
    def counted_QC(self) -> Tensor:
        """False at skipped pairs, True elsewhere, (Q, C) bool; do not write into it."""
        import torch

        counted_QC = torch.ones(self.scores_QC.shape, dtype=torch.bool, device=self.scores_QC.device)
        if self.skipped_rows_S is not None and self.skipped_columns_S is not None:
            counted_QC[self.skipped_rows_S, self.skipped_columns_S] = False
        return counted_QC

    @cached_property
    def label_counts_Q(self) -> Tensor:
        """Against how many labels each query is scored, (Q,) int64: C less those skipped."""
        queries, labels = self.scores_QC.shape
        if self.skipped_rows_S is None:
            return self.positive_rows_P.new_full((queries,), labels)
        return labels - self.skipped_rows_S.bincount(minlength=queries)

    @cached_property
    def negative_counts_Q(self) -> Tensor:
        """How many of these are negatives, (Q,) int64."""
        return self.label_counts_Q - self.positive_rows_P.bincount(minlength=self.scores_QC.shape[0])

    @cached_property
    def positive_weight_sum_Q(self) -> Tensor:
        """Sum of the positives' weights per query, (Q,); 0 for a query without positives."""
        zero_Q = self.scores_QC.new_zeros(self.scores_QC.shape[0])
        return zero_Q.index_add(0, self.positive_rows_P, self.positive_weights_P.to(zero_Q.dtype))

    def log_sum_exp(
        self, over: Literal["negatives", "all"], *, temperature: float | Tensor = 1.0, correct_sampling: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The positives' logits (P,) and the log of the sum of exp(logit) over the negatives or all labels (Q,).

        Same as `(scores_QC / temperature).masked_fill(relevance_QC > 0, -inf).logsumexp(dim=1)`, but fast over a row
        of all labels: nothing of size (Q, C) is kept but the scores. -inf for a query without negatives. A temperature
        for each query, (Q,), is taken as constant.

        `correct_sampling` divides each exp(logit) by the probability with which its label came into the sample, so that
        the sum (not its log) is on average that over all labels; where every label is scored it changes nothing.
        """
        from xmc.row_reduction import RowReduction, reduce_rows

        temperature, scores_QC = self._constant(temperature), self.scores_QC
        if correct_sampling and self.log_inclusion_C is not None:
            column = temperature if isinstance(temperature, float | int) else temperature.unsqueeze(1)
            scores_QC = scores_QC - (column * self.log_inclusion_C).to(scores_QC.dtype)
        reduction = RowReduction("log-sum-exp", skip_positives=over == "negatives", temperature=temperature)
        return reduce_rows(scores_QC, self.positive_rows_P, self.positive_columns_P, reduction, self._skipped)

    def softmax_entropy(self, *, temperature: float | Tensor = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """What `log_sum_exp("negatives")` answers, and the entropy of that softmax (Q,); all without gradient."""
        from xmc.row_reduction import RowReduction
        from xmc.softmax_entropy import softmax_entropy

        reduction = RowReduction("log-sum-exp", skip_positives=True, temperature=self._constant(temperature))
        return softmax_entropy(self.scores_QC, self.positive_rows_P, self.positive_columns_P, reduction, self._skipped)

    def softplus_sum(self, *, temperature: float = 1.0, bias: float = 0.0) -> tuple[Tensor, Tensor]:
        """The positives' logits (P,) and the sum of log(1 + exp(logit)) over the negatives (Q,)."""
        from xmc.row_reduction import RowReduction, reduce_rows

        reduction = RowReduction("softplus-sum", skip_positives=True, temperature=temperature, bias=bias)
        return reduce_rows(self.scores_QC, self.positive_rows_P, self.positive_columns_P, reduction, self._skipped)

    def top_k_logits(self, k_Q: Tensor, *, slope: float) -> Tensor:
        """Each positive's logit z = slope · score + t, with the t that makes Σ over labels of σ(z) equal to k, (P,).

        +inf where k is not below the number of labels. See `xmc.soft_threshold`.
        """
        from xmc.soft_threshold import top_k_logits

        return top_k_logits(
            self.scores_QC, self.positive_rows_P, self.positive_columns_P, k_Q, slope=slope, skipped=self._skipped
        )

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """The positives' scores (P,), and mean and population variance of each query's scores (Q,), all in float64.

        Raises: ValueError when there are skipped pairs, for it cannot leave them out.
        """
        from xmc.row_moments import row_moments

        if self.skipped_rows_S is not None:
            raise ValueError("the moments of all scores cannot leave out skipped pairs")
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

    @property
    def _skipped(self) -> Skipped | None:
        from xmc.row_reduction import Skipped

        if self.skipped_rows_S is None or self.skipped_columns_S is None:
            return None
        return Skipped(self.skipped_rows_S, self.skipped_columns_S)

    def _constant(self, temperature: float | Tensor) -> float | Tensor:
        if isinstance(temperature, float | int):
            return temperature
        return temperature.detach().to(self.working_dtype)
