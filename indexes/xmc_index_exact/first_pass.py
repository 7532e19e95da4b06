"""A matrix product in the quickest format of a device, and how far its scores can be off: speed never costs a hit.

The bound is `xmc.api.rounding_bounds`, and beside it what rounding the vectors to the format took away.

Reference: Fasi, Higham, Mikaitis, Pranesh 2021, "Numerical behavior of NVIDIA tensor cores" (sums are cut off).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xmc.api import float32_product_error, rounding_bounds
from xmc_index_exact.scan import Candidates, find_candidates

_UNIT = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}  # largest relative error of rounding to the nearest
_HALF_UNIT, _HALF_TINY = 2.0**-11, 2.0**-25  # of rounding to float16: relative error, and that of a number near zero
_SLACK = 1.05  # room for the rounding of these terms themselves
_ROWS_AT_A_TIME = 1024
_SMALLEST_EXPONENT = -100  # of a vector's largest number when it is scaled: 2^100 is still a float32


@dataclass(frozen=True)
class Arithmetic:
    """How a pass computes: the format of the vectors, that of the scores, and the relative error of one addition."""

    operands: torch.dtype
    scores: torch.dtype
    addition: float


FLOAT32 = Arithmetic(torch.float32, torch.float32, _UNIT[torch.float32])
BFLOAT16 = Arithmetic(torch.bfloat16, torch.bfloat16, _UNIT[torch.float32])
# Tensor cores: products are exact, float32 sums cut off after at least 23 bits and not rounded; twice that to be safe.
FLOAT16 = Arithmetic(torch.float16, torch.float32, 2.0**-22)


@dataclass(frozen=True, eq=False)
class FirstPass:
    """A label matrix to multiply by, and what is needed to bound the error of the product.

    `largest_norm` is the largest Euclidean norm of a label vector, `largest_residual` that of what rounding the vectors
    to the operands' format took away (0 in float32). In float16, whose range is small, labels and queries are scaled by
    powers of two (`scale` is that of the labels): scores are only compared among those of one query.
    """

    labels_LD: Tensor
    arithmetic: Arithmetic
    scale: float
    largest_norm: float
    largest_residual: float

    @classmethod
    def of(cls, labels_LD: Tensor, arithmetic: Arithmetic) -> FirstPass:
        """The pass over true float32 labels; in float32 it shares their memory."""
        scale = 1.0
        if arithmetic.operands == torch.float16:
            scale = 2.0 ** -max(int(_exponents(part_ND).max()) for part_ND in labels_LD.split(_ROWS_AT_A_TIME))
            labels_LD = labels_LD * scale
        rounded_LD = labels_LD.to(arithmetic.operands)
        return cls(rounded_LD, arithmetic, scale, _largest_norm(labels_LD), _largest_residual(labels_LD, rounded_LD))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the matrix."""
        return self.labels_LD.numel() * self.labels_LD.element_size()

    def candidates(self, queries_QD: Tensor, k: int, *, score_bytes: int, allowed: Tensor | None = None) -> Candidates:
        """Every label that may be among the true best k (`find_candidates`); needs k of them."""
        operands_QD, margins_Q = self.prepared(queries_QD)
        return find_candidates(
            operands_QD,
            self.labels_LD,
            k,
            margins_Q=margins_Q,
            scores=self.arithmetic.scores,
            score_bytes=score_bytes,
            allowed=allowed,
        )

    def prepared(self, queries_QD: Tensor) -> tuple[Tensor, Tensor]:
        """The queries as the pass multiplies them, (Q, D), and the margins of its scores, float32, (Q,).

        A margin is twice the bound on |score of the pass - true score rounded to float32|, both as scaled.
        """
        operands, scores = self.arithmetic.operands, self.arithmetic.scores
        dimension = queries_QD.shape[1]
        scales: Tensor | float = 1.0
        if operands == torch.float16:
            scales_Q = torch.exp2(-_exponents(queries_QD).double())
            queries_QD, scales = queries_QD * scales_Q.float()[:, None], scales_Q
        rounded_QD = queries_QD.to(operands)
        norms_Q = _norms(queries_QD)
        if operands == torch.float32:
            residuals_Q = torch.zeros_like(norms_Q)
        elif operands == torch.float16:  # in a formula, since a GPU takes longer to start a step than to do it
            residuals_Q = norms_Q * _HALF_UNIT + _HALF_TINY * dimension**0.5
        else:
            residuals_Q = _norms(queries_QD - rounded_QD.float())
        largest = self.largest_norm + self.largest_residual
        operands_Q = norms_Q * self.largest_residual + residuals_Q * largest
        shortened = float32_product_error() if operands == torch.float32 else 0.0
        bounds_Q = rounding_bounds(
            norms_Q + residuals_Q,
            largest,
            dimension=dimension,
            addition=self.arithmetic.addition,
            further=shortened + 1.01 * _UNIT[scores],
            scales=scales * self.scale,
        )
        return rounded_QD, (2 * (_SLACK * operands_Q + bounds_Q)).float()


def _exponents(vectors_ND: Tensor) -> Tensor:
    """Of each row: the least e with every number below 2^e in size, (N,)."""
    return torch.frexp(vectors_ND.abs().amax(1)).exponent.clamp(min=_SMALLEST_EXPONENT)


def _norms(vectors_ND: Tensor) -> Tensor:
    """Float64: in float32 the squares of numbers below 1e-19 vanish, and the bound with them."""
    return torch.linalg.vector_norm(vectors_ND, dim=1, dtype=torch.float64)


def _largest_norm(vectors_ND: Tensor) -> float:
    return max(float(_norms(part_ND).max()) for part_ND in vectors_ND.split(_ROWS_AT_A_TIME))


def _largest_residual(labels_LD: Tensor, rounded_LD: Tensor) -> float:
    if rounded_LD.dtype == labels_LD.dtype:
        return 0.0
    pairs = zip(labels_LD.split(_ROWS_AT_A_TIME), rounded_LD.split(_ROWS_AT_A_TIME), strict=True)
    return max(_largest_norm(true_ND - rounded_ND.float()) for true_ND, rounded_ND in pairs)


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively with float32 sums, so that this pass is the faster one."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
