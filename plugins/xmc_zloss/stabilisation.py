"""Keep a factored label matrix well conditioned: the same W, with another V and U.

Every step multiplies U, so its singular values drift apart, and V, in single precision, has to make up for them.

Shapes: L labels, D width, R pulled directions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xmc_zloss.factored_matrix import BLOCK_ROWS, FactoredMatrix

NARROWEST, WIDEST = 0.5, 2.0  # singular values of U over their median
TINIEST, HUGEST = 2.0**-40, 2.0**40  # their median: a common scale costs no digits, but the range of floats ends
STRAIN = 8.0


def stabilise(matrix: FactoredMatrix) -> int:
    """Pull the singular values of U that are not within [0.5, 2] of their median back to it; how many were pulled.

    U ← (I + (1/r − 1) p pᵀ) U and V ← V (I + (r − 1) p pᵀ) for a left singular vector p whose value is r times the
    median: W stays the same. Costs D³, and L · D for each value pulled; nothing of size L when none is. The common
    scale goes into V, at L · D, once in forty halvings.
    """
    left_DD, values_D, _ = torch.linalg.svd(matrix.mixing_DD)
    median = float(values_D.median())
    if not TINIEST < median < HUGEST:
        scale = 2.0 ** round(math.log2(median))  # a power of two: exact
        matrix.table_LD *= scale
        matrix.mixing_DD /= scale
    ratios_D = values_D / median
    pulled_D = (ratios_D < NARROWEST) | (ratios_D > WIDEST)
    pulled = int(pulled_D.sum())
    if pulled:
        directions_DR, ratios_R = left_DD[:, pulled_D], ratios_D[pulled_D]
        matrix.mixing_DD += (directions_DR * (1 / ratios_R - 1)) @ (directions_DR.T @ matrix.mixing_DD)
        _stretch(matrix.table_LD, directions_DR, ratios_R)
    # by rows, as a checkpoint gives it back: products with what lies by columns, as `inv` answers, round otherwise
    matrix.inverse_DD = torch.linalg.inv(matrix.mixing_DD).contiguous()
    return pulled


def is_strained(matrix: FactoredMatrix) -> bool:
    """Whether U should not wait for its turn: a cheap bound on its condition, ‖U‖ ‖U⁻¹‖ / D in Frobenius norms, > 8.

    It is 1 when all singular values are equal and at most 2.2 when they lie within [0.5, 2] of each other.
    """
    strain = torch.linalg.matrix_norm(matrix.mixing_DD) * torch.linalg.matrix_norm(matrix.inverse_DD)
    return not bool(strain <= STRAIN * matrix.dimension)


def _stretch(table_LD: Tensor, directions_DR: Tensor, ratios_R: Tensor) -> None:
    """V ← V (I + P diag(r − 1) Pᵀ), in place and block by block, the cheaper way round."""
    directions_DR = directions_DR.to(table_LD.dtype)
    scaled_DR = directions_DR * (ratios_R - 1).to(table_LD.dtype)
    dimension, count = directions_DR.shape
    whole_DD = torch.eye(dimension, dtype=table_LD.dtype, device=table_LD.device) + directions_DR @ scaled_DR.T
    for block_ND in table_LD.split(BLOCK_ROWS):
        if 2 * count < dimension:
            block_ND.addmm_(block_ND @ directions_DR, scaled_DR.T)
        else:
            block_ND.copy_(block_ND @ whole_DD)
