"""How far the fast scores can be from the true ones: a bound, so that speed never costs a hit.

Reference: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1 (gamma_n, any order of summation).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_UNIT = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}  # largest relative error of rounding to the nearest
_TINY = 2.0**-126  # what flushing a float32 product or operand to zero may lose
_SLACK = 1.05  # room for the rounding of the bound itself
_ROWS_AT_A_TIME = 8192


@dataclass(frozen=True, eq=False)
class FirstPass:
    """A label matrix to multiply by, and what is needed to bound the error of the product.

    `largest_norm` is the largest Euclidean norm of a true label vector, `largest_residual` that of what rounding the
    vectors to the matrix's dtype took away (0 in float32).
    """

    labels_LD: Tensor
    largest_norm: float
    largest_residual: float

    @classmethod
    def of(cls, labels_LD: Tensor, dtype: torch.dtype) -> FirstPass:
        """The pass in `dtype` over true float32 labels; float32 shares their memory."""
        rounded_LD = labels_LD.to(dtype)
        return cls(rounded_LD, _largest_norm(labels_LD), _largest_residual(labels_LD, rounded_LD))

    def margins(self, queries_QD: Tensor) -> Tensor:
        """Twice the bound on |score of the pass - true score rounded to float32|, float32, (Q,)."""
        norms_Q = _norms(queries_QD)
        dtype = self.labels_LD.dtype
        residuals_Q = _norms(queries_QD - queries_QD.to(dtype).float())
        operands_Q = norms_Q * self.largest_residual + residuals_Q * (self.largest_norm + self.largest_residual)
        unit = _UNIT[torch.bfloat16] if _float32_is_reduced() else _UNIT[torch.float32]
        summation = (queries_QD.shape[1] + 8) * _UNIT[torch.float32] + 2.02 * (unit - _UNIT[torch.float32])
        result = _UNIT[dtype] * 1.01
        products_Q = (norms_Q + residuals_Q) * (self.largest_norm + self.largest_residual)
        underflow_Q = queries_QD.shape[1] * _TINY * (1 + norms_Q + self.largest_norm)
        return (2 * _SLACK * (operands_Q + (summation + result) * products_Q + underflow_Q)).float()


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


def _float32_is_reduced() -> bool:
    """Whether the process lets torch multiply float32 matrices in tf32 or bfloat16 (it is a global setting)."""
    owners = (torch.backends, torch.backends.mkldnn, torch.backends.cuda)
    settings = [getattr(owner, "fp32_precision", "none") for owner in owners]
    settings += [getattr(owner.matmul, "fp32_precision", "none") for owner in owners[1:]]
    return any(setting not in ("none", "ieee") for setting in settings)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively with float32 sums, so that this pass is the faster one.

    Not on a GPU: there torch may add up partial sums in bfloat16, which the bound does not cover.
    """
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
