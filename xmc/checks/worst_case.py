"""The worst that an attacker of a query can do, in two forms: by the sum over words, or by listing every text.

Shapes: T radii, K leading labels, C candidates, V variants of the text, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from xmc.checks.brute_force import row_norms
from xmc.checks.rounding import LabelNorms, gap_margin, require_short
from xmc.checks.text_edits import Floats, TextEdits
from xmc.checks.variants import variant_count, variants
from xmc.checks.worst_gap import largest_shifts, summed_terms, worst_gaps, worst_substitutions
from xmc.substitutions.word_sets import Site, replaced


class WorstCase(Protocol):
    """Bounds for one text and some radii (0 = all sites).

    `margins_T`: a gap above it is above 0 in the arithmetic of encoder and index too. `rises_T`: no score rises by more
    than this times the norm of the label's vector. `exact`: what is not certified can be broken.
    """

    exact: bool
    margins_T: Floats
    rises_T: Floats

    def gaps(self, labels_CD: Tensor, leading: int) -> Floats:
        """Least score(l) − score(m) over the allowed texts, or a lower bound, for l the first labels, (T, K, C)."""

    def scores(self, labels_CD: Tensor) -> Floats:
        """Scores of the unchanged text, (C,)."""

    def witness(self, row: int, falls_D: Tensor, rises_D: Tensor) -> str:
        """The allowed text of radius number `row` that brings the first label's score furthest below the second's."""


class AdditiveWorst:
    """By the sum over words; see `xmc.checks.worst_gap`."""

    def __init__(self, text: str, edits: TextEdits, radii: Sequence[int], *, label_norms: LabelNorms) -> None:
        self.text, self.edits, self.radii = text, edits, list(radii)
        self.exact = edits.exact
        shifts_T = largest_shifts(edits, self.radii)
        size = edits.size()
        require_short(float(edits.vectors_FD.norm(dim=1).max()) if len(edits.rows_F) else 0.0)
        self.margins_T = np.array(
            [
                gap_margin(size + shift, label_norms, terms=summed_terms(edits, radius), divisor=edits.weight(radius))
                for shift, radius in zip(shifts_T.tolist(), self.radii, strict=True)
            ]
        )
        norms_B = torch.linalg.vector_norm(edits.block_sums(), dim=1).numpy()
        shorter = float((norms_B * (1 / edits.shortest_B - 1 / edits.longest_B)).sum())  # blocks that become shorter
        self.rises_T = shifts_T + shorter

    def gaps(self, labels_CD: Tensor, leading: int) -> Floats:
        """See `WorstCase`."""
        return worst_gaps(self.edits, labels_CD, leading, self.radii)

    def scores(self, labels_CD: Tensor) -> Floats:
        """See `WorstCase`."""
        return (labels_CD @ self.edits.embedding().to(labels_CD.dtype)).numpy()

    def witness(self, row: int, falls_D: Tensor, rises_D: Tensor) -> str:
        """See `WorstCase`."""
        direction_D = falls_D.double() - rises_D.double()
        return replaced(self.text, worst_substitutions(self.edits, direction_D, self.radii[row]))


class ListedWorst:
    """By listing every allowed text and embedding it: exact for any encoder, for short texts."""

    exact = True

    def __init__(
        self,
        text: str,
        sites: Sequence[Site],
        radii: Sequence[int],
        embed: Callable[[Sequence[str]], Tensor],
        *,
        label_norms: LabelNorms,
    ) -> None:
        widest = 0 if 0 in radii else max(radii)
        self.texts = list(variants(text, sites, widest))
        self.counts_T = [variant_count(sites, radius) for radius in radii]  # fewer changes come first
        self.queries_VD = embed(self.texts)
        norms_V = row_norms(self.queries_VD)
        shifts_V = row_norms(self.queries_VD.double() - self.queries_VD[0].double())
        self.rises_T = np.array([shifts_V[:count].max() for count in self.counts_T])
        terms = self.queries_VD.shape[1]
        self.margins_T = np.array(
            [gap_margin(float(norms_V[:count].max()), label_norms, terms=terms) for count in self.counts_T]
        )

    def gaps(self, labels_CD: Tensor, leading: int) -> Floats:
        """See `WorstCase`."""
        scores_VC = (self.queries_VD @ labels_CD.T).numpy()
        gaps_TKC = np.empty((len(self.counts_T), leading, labels_CD.shape[0]))
        for place in range(leading):
            gaps_VC = scores_VC[:, place, None] - scores_VC
            for row, count in enumerate(self.counts_T):
                gaps_TKC[row, place] = gaps_VC[:count].min(axis=0)
        return gaps_TKC

    def scores(self, labels_CD: Tensor) -> Floats:
        """See `WorstCase`."""
        return (labels_CD @ self.queries_VD[0].to(labels_CD.dtype)).numpy()

    def witness(self, row: int, falls_D: Tensor, rises_D: Tensor) -> str:
        """See `WorstCase`."""
        gaps_V = self.queries_VD[: self.counts_T[row]] @ (falls_D - rises_D)
        return self.texts[int(gaps_V.argmin())]
