"""Whether rewriting a long label text may lift the label over given scores: a bound by the sum over its words.

A label's score is n(x') / d(x'), n the scalar product of the sum with the query and d what the sum is divided by. It
stays below a score t when n(x') − t d(x') < 0 for every allowed x', and for t >= 0 that holds when it holds with a sum
over words in the place of d that is never above it: a norm is at least its product with any unit vector (here that of
the unchanged text), and at least its least possible value. Sound; complete only where d is a number of tokens.

Shapes: T radii, Q queries, N values of k, M edits, W groups, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.checks.additive import AdditiveTexts
from xmc.checks.least_sums import least_per_group, sums_of_least
from xmc.checks.rounding import require_short, score_margins
from xmc.checks.text_edits import Floats, TextEdits
from xmc.checks.worst_gap import largest_shifts, summed_terms, worst_substitutions
from xmc.substitutions.word_sets import Site, replaced


@dataclass(frozen=True)
class Divisor:
    """A sum over words: `base` plus what the edits add, (M,). Never above the true divisor, or never below it."""

    base: float
    changes_M: Floats


@dataclass(eq=False)
class LabelBound:
    """The bound for one label text and some radii (0 = all sites); the divisors are those of each radius."""

    text: str
    edits: TextEdits
    radii: Sequence[int]
    shifts_T: Floats
    lower: list[list[Divisor]]
    upper: list[Divisor]

    @classmethod
    def of(cls, texts: AdditiveTexts, text: str, sites: Sequence[Site], radii: Sequence[int]) -> LabelBound:
        """The bound; several radii only where `texts` has the same edits for all.

        Raises: NotCertifiedError for a text that does not fall apart into its words, or that may become too long.
        """
        edits = texts.edits(text, sites, radii[0])
        shifts_T = largest_shifts(edits, radii)
        require_short(edits.size() + float(shifts_T.max()))
        none_M = np.zeros(len(edits.changes))
        sum_D = edits.block_sums()[0]
        if texts.length == "tokens":
            products_F = texts.weights(edits)
            exact = Divisor(float(edits.base_BF[0] @ products_F), edits.least(products_F.double()[:, None])[:, 0])
            return cls(text, edits, radii, shifts_T, [[exact] for _ in radii], [exact for _ in radii])
        if texts.length == "norm":
            norm = float(sum_D.norm())
            products_F = edits.vectors_FD @ (sum_D / norm if norm > 0 else sum_D)
            ranges = [(max(0.0, norm - shift), norm + shift) for shift in shifts_T.tolist()]
        else:
            products_F = texts.weights(edits)
            norm = float(edits.base_BF[0].norm())
            ranges = [edits.weight_norms]
        tangent = Divisor(norm, edits.least(products_F.double()[:, None])[:, 0])
        lower = [[tangent, Divisor(shortest, none_M)] for shortest, _ in ranges]
        return cls(text, edits, radii, shifts_T, lower, [Divisor(longest, none_M) for _, longest in ranges])

    def may_reach(self, queries_QD: Tensor, scores_QN: Floats) -> NDArray[np.bool_]:
        """False where no allowed text brings the label to a score of the query, (T, Q, N)."""
        products_FQ = self.edits.vectors_FD @ queries_QD.double().T
        value_Q = (self.edits.base_BF[0] @ products_FQ).numpy()
        gains_MQ = self.edits.most(products_FQ)
        norms_Q = torch.linalg.vector_norm(queries_QD, dim=1, dtype=torch.float64)
        size = self.edits.size()
        counts_W = self.edits.counts_W()
        may_TQN = np.ones((len(self.radii), *scores_QN.shape), dtype=bool)
        for place, shift in enumerate(self.shifts_T.tolist()):
            terms, weight = summed_terms(self.edits, self.radii[place]), self.edits.weight(self.radii[place])
            largest = max(divisor.base for divisor in [*self.lower[place], self.upper[place]])
            scales_Q = (1 + largest + weight) * (1 + norms_Q)
            of_sum_Q = score_margins(norms_Q, size + shift, terms=terms, scales=scales_Q).numpy()
            for column in range(scores_QN.shape[1]):
                score_Q = scores_QN[:, column]
                margin_Q = of_sum_Q + score_margins(torch.from_numpy(np.abs(score_Q)), largest, terms=terms).numpy()
                candidates = [*((one, score_Q >= 0) for one in self.lower[place]), (self.upper[place], score_Q < 0)]
                for divisor, applies_Q in candidates:
                    open_Q = np.flatnonzero(applies_Q & may_TQN[place, :, column] & np.isfinite(score_Q))
                    if len(open_Q):
                        lacks_MQ = score_Q[open_Q] * divisor.changes_M[:, None] - gains_MQ[:, open_Q]
                        least_WQ = least_per_group(lacks_MQ, self.edits.level_sizes)
                        lack_Q = score_Q[open_Q] * divisor.base - value_Q[open_Q]
                        lack_Q += sums_of_least(least_WQ, counts_W, [self.radii[place]])[0]
                        may_TQN[place, open_Q[lack_Q > margin_Q[open_Q]], column] = False
        return may_TQN

    def attack(self, query_D: Tensor, score: float) -> str:
        """The allowed text that lifts the first of the bounds the most: often, not always, one that works."""
        divisor = self.lower[0][0] if score >= 0 else self.upper[0]
        extra_M = score * divisor.changes_M
        return replaced(self.text, worst_substitutions(self.edits, -query_D.double(), self.radii[0], extra_M))
