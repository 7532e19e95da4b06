"""Vectors as whole numbers of 8 bits: scales, codes, and how much the rounding took away at most.

Letters: Q queries, S labels of one part, N blocks of `MAX_BLOCK` labels, E numbers of a block, D dimension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xmc_index_exact.int8_product import LARGEST_LABEL_CODE, LARGEST_QUERY_CODE
from xmc_index_exact.scan import MAX_BLOCK

Array = np.ndarray[Any, Any]

PART = 8192  # labels packed together: at 384 numbers 3 MB, which a processor's cache holds while queries pass over it
TINY = 2.0**-148  # of true scores near zero, as float32
_IN_CACHE = 1024  # labels rounded at a time
_LEAST_SCALE = 1e-30  # below, a block has no codes but zeros, and all of it counts as rounded away
_SLACK = 1.0001  # room for the rounding of the bound itself
_ROUNDING = 2.0**-20  # of scores to float32: the true one, that of the codes, the one that is needed


class QueryCodes(NamedTuple):
    """Queries as scales and codes, (Q, D); norms of them and of what rounding took away in units of their scales."""

    codes_QD: Tensor
    scales_Q1: Array
    norms_Q1: Array
    residuals_Q1: Array


def round_labels(part_SD: Tensor) -> tuple[Tensor, Array]:
    """Codes (S, D), and of each block of a whole part its scale, norm and residual, float64 (3, N).

    The norm is the largest of its labels, the residual that of what rounding took away from one, with room for every
    rounding of scores: an error is at most |query| residual + |query's residual| norm.
    """
    count = len(part_SD)
    padded_SD = part_SD if count == PART else torch.nn.functional.pad(part_SD, (0, 0, 0, PART - count))
    codes_SD = torch.empty(padded_SD.shape, dtype=torch.int8)
    slices = zip(codes_SD.split(_IN_CACHE), padded_SD.split(_IN_CACHE), strict=True)
    facts = [_round_blocks(slice_SD, out_SD) for out_SD, slice_SD in slices]
    return codes_SD[:count], torch.cat(facts, dim=1).numpy()


def round_queries(queries_QD: Array) -> QueryCodes:
    """In float64, so that a query may be of any size; none may be zero."""
    exact_QD = queries_QD.astype(np.float64)
    scales_Q1 = np.abs(exact_QD).max(1, keepdims=True) / LARGEST_QUERY_CODE
    exact_QD /= scales_Q1
    codes_QD = np.rint(exact_QD)
    norms_Q1, residuals_Q1 = (_row_norms(values_QD) for values_QD in (exact_QD, exact_QD - codes_QD))
    return QueryCodes(torch.from_numpy(codes_QD.astype(np.float32)), scales_Q1, norms_Q1, residuals_Q1)


def _round_blocks(labels_SD: Tensor, codes_SD: Tensor) -> Tensor:
    """Fill the codes of whole blocks; the facts of these.

    Norms are taken in units of the scale, in which no square of a float32 vanishes that counts.
    """
    dimension = labels_SD.shape[1]
    blocks_NE = labels_SD.reshape(-1, MAX_BLOCK * dimension)
    scales_N = torch.maximum(blocks_NE.amax(1), -blocks_NE.amin(1)) / LARGEST_LABEL_CODE
    scales_N = torch.where(scales_N < _LEAST_SCALE, 1.0, scales_N)
    scaled_NE = blocks_NE / scales_N[:, None]
    codes_NE = scaled_NE.round().clamp_(-LARGEST_LABEL_CODE, LARGEST_LABEL_CODE)
    codes_SD.copy_(codes_NE.view(-1, dimension))
    residuals_N, norms_N = (_largest_norms(values_NE, dimension) for values_NE in (scaled_NE.sub_(codes_NE), codes_NE))
    residuals_N += 2.0**-16 * dimension**0.5  # of dividing by the scale in float32
    norms_N += residuals_N  # now at least that of a label
    return torch.stack([scales_N, scales_N * norms_N, scales_N * (_SLACK * residuals_N + _ROUNDING * norms_N)])


def _largest_norms(values_NE: Tensor, dimension: int) -> Tensor:
    """Of the vectors of each block: the largest norm, float64, with room for a sum in float32."""
    norms_NB = torch.linalg.vector_norm(values_NE.view(-1, MAX_BLOCK, dimension), dim=2)
    return norms_NB.amax(1).double() * (1 + dimension * 2.0**-24)


def _row_norms(values_QD: Array) -> Array:
    return np.sqrt(np.einsum("qd,qd->q", values_QD, values_QD))[:, None]
