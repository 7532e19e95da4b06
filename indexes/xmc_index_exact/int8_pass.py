"""A fast pass over whole numbers of 8 bits: a quarter of the memory traffic, exact sums, a proven bound.

Labels are rounded to `scale * codes`, one scale per block of labels, and a query to `scale * codes` too. The products
of codes are exact (`int8_product.py`), so what a score may be off by is what the two roundings took away, and Cauchy
and Schwarz bound that: with x = c + r and q = p + s, |q.x - p.c| <= |q| |r| + |s| |c|.

Letters: Q queries, L labels, S labels of one part, M parts, N blocks of B labels, K wanted, D dimension, P candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xmc_index_exact.int8_codes import PART, TINY, QueryCodes, round_labels, round_queries
from xmc_index_exact.int8_product import Kernel, PackedCodes
from xmc_index_exact.scan import MAX_BLOCK, Candidates, block_size

Array = np.ndarray[Any, Any]

TOGETHER = 64  # queries multiplied at a time: more are not faster
LARGE_BATCH = 16  # queries from which float32 shares the labels' memory traffic, and sorting out takes its time
MOST_THREADS = 4  # for a large batch that is not searched in parts: one thread sorts out its candidates; an estimate
_LEAST_SHARES = (1 / 16, 1 / 3)  # of the labels that must count, in a small and a large batch: float32 reads only these
_LABELS_PER_HIT = (512, 1024)  # at least, in a small and a large batch: the error's candidates grow with k
_SPAN_BYTES = 1 << 20  # scores of several parts brought together for few queries: fewer steps, at the price of a copy
_LARGEST = float(np.finfo(np.float32).max)
_BUDGET = (8, 1 / 16)  # candidates of a query above so many times k and this share of the labels: float32 is faster


class _Found(NamedTuple):
    """Pairs with the most that their scores can be."""

    query_rows_P: Array
    label_rows_P: Array
    most_P: Array


@dataclass(frozen=True, eq=False)
class Int8Pass:
    """Label codes in parts of `PART` labels; per block of `MAX_BLOCK` its scale, largest norm and largest residual.

    The residual has room for every rounding of scores, so that an error is at most |q| residual + |s| norm.
    """

    kernel: Kernel
    parts: tuple[PackedCodes, ...]
    labels: int
    dimension: int
    scales_N: Array
    norms_N: Array
    residuals_N: Array

    @classmethod
    def of(cls, labels_LD: Tensor, kernel: Kernel) -> Int8Pass:
        """Round and pack true float32 labels on a CPU. Needs D <= LARGEST_DIMENSION."""
        parts, facts = [], []
        for part_SD in labels_LD.split(PART):  # not by several threads: what those leave behind takes memory
            codes_SD, facts_3N = round_labels(part_SD)
            parts.append(kernel.pack(codes_SD))
            facts.append(facts_3N)
        return cls(kernel, tuple(parts), *labels_LD.shape, *np.concatenate(facts, axis=1))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the packed codes and of the facts of the blocks."""
        return self.labels * self.kernel.bytes_per_label(self.dimension) + 3 * self.scales_N.nbytes

    def pays_off(self, queries: int, k: int, labels: int) -> bool:
        """Whether this pass is likely faster than float32 for so many queries, when so many labels count."""
        is_large = queries > LARGE_BATCH
        if queries < self.kernel.fewest_queries or (is_large and torch.get_num_threads() > MOST_THREADS):
            return False
        return labels >= max(_LABELS_PER_HIT[is_large] * k, self.labels * _LEAST_SHARES[is_large])

    def candidates(self, queries_QD: Tensor, k: int, *, score_bytes: int, allowed: Tensor | None) -> Candidates | None:
        """Every label that may be among the true best k; None when they are so many that float32 is faster.

        Naive: `scores, error = pass(queries)`, then all with `scores + error >= kth_largest(scores - error)`.
        `allowed` are the label rows that count, ascending, None for all; needs k of them. Scores are upper bounds.
        """
        hidden_L = None if allowed is None else _all_but(allowed.numpy(), self.labels)
        together = max(1, min(TOGETHER, score_bytes // (4 * PART)))
        parts = []
        for start in range(0, len(queries_QD), together):
            found = self._group(round_queries(queries_QD[start : start + together].numpy()), k, score_bytes, hidden_L)
            if found is None:
                return None
            parts.append(found._replace(query_rows_P=found.query_rows_P + start))
        return Candidates(*(torch.from_numpy(column) for column in _joined(parts)))

    def _group(self, operands: QueryCodes, k: int, score_bytes: int, hidden_L: Array | None) -> _Found | None:
        """A few queries over all labels: of each block only the maximum is looked at, unless it may reach the best."""
        queries = len(operands.codes_QD)
        labels = self.labels if hidden_L is None else self.labels - int(np.count_nonzero(hidden_L))
        budget = queries * (_BUDGET[0] * k + _BUDGET[1] * labels)
        block = block_size(min(labels, 4 * PART), k)  # in one part more than k: its kth best maximum already tells much
        best_QK = np.full((queries, k), -np.inf)
        founds: list[_Found] = []
        for parts, scores_MQS in self._scores(operands.codes_QD, score_bytes, hidden_L):
            scores_MQNB = scores_MQS.unflatten(2, (-1, block))
            maxima_QN = scores_MQNB.amax(3).transpose(0, 1).reshape(queries, -1).numpy()
            scales_N, errors_QN = self._blocks(operands, parts, block)
            best_QK = _largest(np.concatenate([best_QK, maxima_QN * scales_N - errors_QN], axis=1), k)
            needed_QN = _needed(best_QK[:, :1], scales_N, errors_QN)
            query_rows_P, blocks_P, columns_P, scores_P = _at_least(needed_QN, scores_MQNB.numpy(), maxima_QN)
            most_P = scores_P * scales_N[blocks_P] + errors_QN[query_rows_P, blocks_P]
            founds.append(_Found(query_rows_P, parts.start * PART + blocks_P * block + columns_P, most_P))
            if (budget := budget - len(most_P)) < 0:
                return None
        query_rows_P, label_rows_P, most_P = _joined(founds)
        kept = most_P >= best_QK[query_rows_P, 0]
        most_P *= operands.scales_Q1[query_rows_P, 0]
        return _Found(query_rows_P[kept], label_rows_P[kept], most_P[kept])

    def _scores(self, codes_QD: Tensor, score_bytes: int, hidden_L: Array | None) -> Iterator[tuple[range, Tensor]]:
        """Parts and their scores (M, Q, S), as many parts at a time as fit; -inf is no label, or a hidden one."""
        step = max(1, min(score_bytes, _SPAN_BYTES) // (4 * PART * len(codes_QD)))
        for start in range(0, len(self.parts), step):
            parts = range(start, min(start + step, len(self.parts)))
            scores = [self._scores_of_part(codes_QD, part, hidden_L) for part in parts]
            yield parts, scores[0][None] if len(scores) == 1 else torch.stack(scores)

    def _scores_of_part(self, codes_QD: Tensor, part: int, hidden_L: Array | None) -> Tensor:
        scores_QS = self.kernel.multiply(codes_QD, self.parts[part])
        if hidden_L is not None:
            np.copyto(scores_QS.numpy(), -np.inf, where=hidden_L[part * PART :][: scores_QS.shape[1]])
        missing = PART - scores_QS.shape[1]
        return torch.nn.functional.pad(scores_QS, (0, missing), value=-torch.inf) if missing else scores_QS

    def _blocks(self, operands: QueryCodes, parts: range, block: int) -> tuple[Array, Array]:
        """Scales (N,) and bounds on the errors (Q, N) of the blocks of these parts, in units of the queries' scales."""
        rows = slice(parts.start * PART // MAX_BLOCK, parts.stop * PART // MAX_BLOCK)
        errors_QN = operands.norms_Q1 * self.residuals_N[rows] + operands.residuals_Q1 * self.norms_N[rows]
        errors_QN += TINY / operands.scales_Q1
        finer = MAX_BLOCK // block
        return self.scales_N[rows].repeat(finer), errors_QN if finer == 1 else errors_QN.repeat(finer, axis=1)


def _all_but(rows: Array, labels: int) -> Array:
    mask_L = np.ones(labels, np.bool_)
    mask_L[rows] = False
    return mask_L


def _largest(values_QN: Array, k: int) -> Array:
    """The k largest of each row, the smallest of them first."""
    return np.partition(values_QN, values_QN.shape[1] - k, axis=1)[:, values_QN.shape[1] - k :]


def _needed(least_Q1: Array, scales_N: Array, errors_QN: Array) -> Array:
    """The score of the kernel, finite, from which on a label of a block may reach the least that is needed."""
    return np.clip((least_Q1 - errors_QN) / scales_N, -_LARGEST, _LARGEST).astype(np.float32)


def _at_least(needed_QN: Array, scores_MQNB: Array, maxima_QN: Array) -> tuple[Array, Array, Array, Array]:
    """Query rows, blocks, columns in these, scores, (P,) each, of all scores that are as high as needed."""
    blocks_of_part = scores_MQNB.shape[2]
    query_rows, blocks = _where(maxima_QN >= needed_QN)
    scores_PB = scores_MQNB[blocks // blocks_of_part, query_rows, blocks % blocks_of_part]
    pairs, columns = _where(scores_PB >= needed_QN[query_rows, blocks][:, None])
    return query_rows[pairs], blocks[pairs], columns, scores_PB[pairs, columns]


def _where(mask_NM: Array) -> tuple[Array, Array]:
    """The same as `np.nonzero`, which takes several times as long for two dimensions as for one."""
    rows, columns = np.divmod(np.flatnonzero(mask_NM), mask_NM.shape[1])
    return rows, columns


def _joined(founds: list[_Found]) -> _Found:
    return founds[0] if len(founds) == 1 else _Found(*(np.concatenate(column) for column in zip(*founds, strict=True)))
