"""Every query with every label, scored exactly: where nearly all labels tie, quicker than pair by pair.

A product of matrices in float64 takes for a pair about a fortieth of the time of its sum in the fixed order. Products
of two float32 are exact in float64, so in any order their sum is near to that of the fixed order. Only where rounding
to float32 may show the difference, as a rule of a few pairs in a million, is a pair added up again, as in
`rounded_dots`.

Letters: Q queries, L labels, S labels of a slice, K wanted, D dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xmc.fixed_order import dot_pairs

if TYPE_CHECKING:
    from torch import Tensor

_MOST_HELD = {"cpu": 2 << 20, "cuda": 64 << 20}  # candidates
_QUERIES = 256  # scored together
_SCORES = {"cpu": 1 << 19, "cuda": 1 << 23}  # held at a time, in several formats
_LABEL_NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 26}  # of the label vectors held at a time, in float32 and in float64
_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 23}  # of the pairs that are added up again at a time


def most_candidates(*, queries: int, labels: int, device: str) -> int:
    """Of so many pairs on, scoring all of them together takes no longer, or less memory, than these one by one.

    >>> most_candidates(queries=1, labels=1000, device="cpu"), most_candidates(queries=256, labels=1000, device="cpu")
    (2031, 10000)
    """
    return min(_MOST_HELD[device], int((2 + queries / 32) * labels))


def best_of_all(
    queries_QD: Tensor, gather: Callable[[Tensor], Tensor], label_rows_L: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Query rows, label rows and scores, (Q x K,) each: the true best k of these labels for each query, ties settled.

    Naive: `scores = dot_pairs(queries, labels).float()` of all pairs, then sort by (-score, label row) and cut at k.
    Those of a query stand together, by label row. `gather` brings the float32 vectors of some rows together, (S, D), on
    the device of queries and rows. `label_rows_L` ascend; there are at least k.

    >>> import torch
    >>> query_rows, label_rows, scores = best_of_all(torch.ones(1, 3), torch.eye(3).__getitem__, torch.arange(3), 2)
    >>> label_rows.tolist(), scores.tolist()
    ([0, 1], [1.0, 1.0])
    """
    import torch

    parts = [_best_of_group(group_QD, gather, label_rows_L, k) for group_QD in queries_QD.split(_QUERIES)]
    scores_QK, rows_QK = (torch.cat(column) for column in zip(*parts, strict=True))
    query_rows = torch.arange(len(queries_QD), device=queries_QD.device).repeat_interleave(k)
    return query_rows, rows_QK.flatten(), scores_QK.flatten()


def _best_of_group(
    queries_QD: Tensor, gather: Callable[[Tensor], Tensor], label_rows_L: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    import torch

    (queries, width), device = queries_QD.shape, queries_QD.device.type
    scores_QK = queries_QD.new_full((queries, k), -torch.inf)
    rows_QK = label_rows_L.new_zeros((queries, k))
    for rows_S in label_rows_L.split(max(1, min(_SCORES[device] // queries, _LABEL_NUMBERS[device] // width))):
        scores_QN = torch.cat([scores_QK, _scores(queries_QD, gather(rows_S))], dim=1)
        rows_QN = torch.cat([rows_QK, rows_S.expand(queries, -1)], dim=1)
        kept_QN = _first_best(scores_QN, k)
        scores_QK, rows_QK = scores_QN[kept_QN].view(-1, k), rows_QN[kept_QN].view(-1, k)
    return scores_QK, rows_QK


def _scores(queries_QD: Tensor, labels_SD: Tensor) -> Tensor:
    """`dot_pairs` of all, rounded to float32, (Q, S)."""
    import torch

    wide_QD, wide_SD = queries_QD.double(), labels_SD.double()
    largest = torch.linalg.vector_norm(wide_SD, dim=1).max()
    slack_Q1 = (queries_QD.shape[1] + 64) * 2.0**-53 * largest * torch.linalg.vector_norm(wide_QD, dim=1, keepdim=True)
    sums_QS = wide_QD @ wide_SD.T
    scores_QS = (sums_QS - slack_Q1).float()
    query_rows, columns = (scores_QS != (sums_QS + slack_Q1).float()).nonzero(as_tuple=True)
    step = max(1, _NUMBERS[queries_QD.device.type] // queries_QD.shape[1])
    for rows_P, columns_P in zip(query_rows.split(step), columns.split(step), strict=True):
        scores_QS[rows_P, columns_P] = dot_pairs(queries_QD[rows_P], labels_SD[columns_P]).float()
    return scores_QS + 0.0  # -0.0 becomes 0.0


def _first_best(scores_QN: Tensor, k: int) -> Tensor:
    """Which are the best k of each row, (Q, N) bool; of those that tie at the k-th place the first columns."""
    import torch

    least_Q1 = scores_QN.topk(k, dim=1).values[:, -1:]
    better_QN, tied_QN = scores_QN > least_Q1, scores_QN == least_Q1
    room_Q1 = k - better_QN.sum(1, keepdim=True)
    return better_QN | (tied_QN & (tied_QN.cumsum(1, dtype=torch.int32) <= room_Q1))
