"""Compare the leading labels of a query with all others, in pairs only where a bound does not settle it.

Shapes: T radii, N values of k, K leading labels, C candidates, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from xmc.checks.label_matrix import LabelMatrix
from xmc.checks.worst_case import WorstCase
from xmc.rounding_bounds import float32_product_error, rounding_bounds

FIRST = 48
AT_ONCE = 1024


class Comparison:
    """What is known of the lists and of the leading labels; filled by `run`.

    `lists_TN`: the first k labels stay the first k. `rivals_TK`: how many others may come before a leading label
    (counting stops at the largest k). `weakest`: for a list that may change, the least gap and its pair of label rows.
    """

    def __init__(self, worst: WorstCase, labels: LabelMatrix, label_rows: NDArray[np.int64], ks: Sequence[int]) -> None:
        self.worst, self.labels, self.ks = worst, labels, ks
        self.leading = label_rows[: max(ks)]
        radii, leading = len(worst.margins_T), len(self.leading)
        self.lists_TN = np.ones((radii, len(ks)), dtype=bool)
        self.rivals_TK = np.zeros((radii, leading), dtype=np.int64)
        self.weakest: dict[tuple[int, int], tuple[float, int, int]] = {}
        self.rank_of = {int(row): rank for rank, row in enumerate(self.leading)}
        leading_KD = labels.take(self.leading)
        self.zero_1D = torch.zeros_like(leading_KD[:1])  # the gap to a label without a vector is the score itself
        self.least_TK = worst.gaps(torch.cat([leading_KD, self.zero_1D]), leading)[:, :, -1]

    def run(self) -> int:
        """Compare until nothing is open; the number of labels that were compared in pairs."""
        scores_L = self.worst.scores(self.labels.labels_LD)
        highest = torch.topk(torch.from_numpy(scores_L), min(FIRST, len(scores_L))).indices.numpy()
        first = np.union1d(self.leading, highest)
        compared = len(first)
        self._compare(first)
        is_left_L = np.ones(len(self.labels), dtype=bool)
        is_left_L[first] = False
        for label_rows, reach_TC in self._reaching(is_left_L, scores_L):
            # the highest first: most lists that fall, fall at once
            for part in np.array_split(np.argsort(-reach_TC.max(axis=0)), -(-len(label_rows) // AT_ONCE)):
                needed = part[(reach_TC[:, part] >= self._floors()[:, None]).any(axis=0)]
                if len(needed):
                    self._compare(label_rows[needed])
                    compared += len(needed)
        return compared

    def _reaching(
        self, is_left_L: NDArray[np.bool_], scores_L: NDArray[np.floating]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
        """Chunks of the labels that may come as high as a leading one may fall, with the heights they reach."""
        margins_T = self.worst.margins_T[:, None]
        for start in range(0, len(self.labels), 4 * AT_ONCE):
            rows = np.arange(start, min(start + 4 * AT_ONCE, len(self.labels)))
            is_wanted = is_left_L[rows] & self._near(rows, scores_L)
            if 2 * is_wanted.sum() < len(rows):
                rows = rows[is_wanted]
                is_wanted = np.ones(len(rows), dtype=bool)
            if len(rows):  # where most are wanted, a slice of the matrix is cheaper than a copy of its rows
                whole = self.labels.labels_LD[rows[0] : rows[-1] + 1]
                labels_CD = whole if len(whole) == len(rows) else self.labels.take(rows)
                reach_TC = margins_T - self.worst.gaps(torch.cat([self.zero_1D, labels_CD]), 1)[:, 0, 1:]
                keep = is_wanted & (reach_TC >= self._floors()[:, None]).any(axis=0)
                if keep.any():
                    yield rows[keep], reach_TC[:, keep]

    def _near(self, rows: NDArray[np.int64], scores_L: NDArray[np.floating]) -> NDArray[np.bool_]:
        """False for a label that no attack brings to an open leading one: the text moves by too little for that.

        The gap of two labels changes by at most `rises_T` times the distance of their vectors.
        """
        open_TK = self._open()
        places = np.flatnonzero(open_TK.any(axis=0))
        leading = self.leading[places]
        gaps_KC = scores_L[leading][:, None] - scores_L[rows]
        products_KC = (self.labels.take(leading) @ self.labels.labels_LD[rows[0] : rows[-1] + 1].T).double().numpy()
        squares_KC = self.labels.norms_L[leading][:, None] ** 2 + self.labels.norms_L[rows] ** 2
        errors_K = rounding_bounds(
            torch.from_numpy(self.labels.norms_L[leading]),
            self.labels.largest_norm,
            dimension=self.labels.labels_LD.shape[1],
            further=float32_product_error(),
        )  # of the products, added so that no distance is too small
        distances_KC = np.sqrt(np.maximum(squares_KC - 2 * products_KC, 0) + 2 * errors_K.numpy()[:, None])
        is_near_C = np.zeros(len(rows), dtype=bool)
        for open_K, rise, margin in zip(open_TK[:, places], self.worst.rises_T, self.worst.margins_T, strict=True):
            is_near_C |= (gaps_KC[open_K] <= rise * distances_KC[open_K] + margin).any(axis=0)
        return is_near_C

    def _open(self) -> NDArray[np.bool_]:
        """Which leading labels are still worth comparing, (T, K)."""
        open_TK = self.rivals_TK < max(self.ks)
        for column, k in enumerate(self.ks):
            open_TK[:, :k] |= self.lists_TN[:, column, None]
        return open_TK

    def _floors(self) -> NDArray[np.floating]:
        """How low the open leading labels may fall, (T,): a label that cannot come so high makes no difference."""
        floors_TK = np.where(self._open(), self.least_TK, np.inf)
        return np.asarray(floors_TK.min(axis=1, initial=np.inf)) - self.worst.margins_T

    def _compare(self, label_rows: NDArray[np.int64]) -> None:
        places = np.flatnonzero(self._open().any(axis=0))
        leading = self.leading[places]
        both = self.labels.take(np.concatenate([leading, label_rows]))
        gaps_TKC = self.worst.gaps(both, len(leading))[:, :, len(leading) :]
        # labels of one vector tie for every query, and the lower row comes first
        same_KC = self.labels.twins_L[leading][:, None] == self.labels.twins_L[label_rows]
        before_KC = same_KC & (leading[:, None] <= label_rows)
        beaten_TKC = (gaps_TKC <= self.worst.margins_T[:, None, None]) & ~same_KC | same_KC & ~before_KC
        self.rivals_TK[:, places] += beaten_TKC.sum(axis=2)
        ranks_C = np.array([self.rank_of.get(row, len(self.labels)) for row in label_rows.tolist()])
        for column, k in enumerate(self.ks):
            lost_TKC = beaten_TKC & (ranks_C >= k) & (places < k)[:, None]
            self.lists_TN[:, column] &= ~lost_TKC.any(axis=(1, 2))
            self._note_weakest(np.where(lost_TKC, gaps_TKC, np.inf), leading, label_rows, column)

    def _note_weakest(
        self,
        gaps_TKC: NDArray[np.floating],
        leading: NDArray[np.int64],
        label_rows: NDArray[np.int64],
        column: int,
    ) -> None:
        for row, gaps_KC in enumerate(gaps_TKC):
            place, other = np.unravel_index(int(gaps_KC.argmin()), gaps_KC.shape)
            gap = float(gaps_KC[place, other])
            if gap < self.weakest.get((row, column), (np.inf, 0, 0))[0]:
                self.weakest[row, column] = (gap, int(leading[place]), int(label_rows[other]))
