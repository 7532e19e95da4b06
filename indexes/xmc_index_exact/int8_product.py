"""Products of whole numbers of 8 bits on a CPU, by kernels that torch ships; exact, or not offered.

torch has two. FBGEMM, behind its quantized tensors, whose makers it calls deprecated, is the fastest for few queries
and fills vectors up to a multiple of 512 numbers. oneDNN, behind plain tensors, is as fast for large batches and takes
no more memory than the codes. A kernel that is not there, or does not multiply exactly, is left out.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

LARGEST_LABEL_CODE = 127
LARGEST_QUERY_CODE = 64  # two products of a pair of codes must fit the 16 bits in which AVX2 adds them up
LARGEST_DIMENSION = 1 << 17  # of a sum that an int32 can hold
_NOT_THERE = (AttributeError, RuntimeError)  # what calling an absent operator raises

PackedCodes = Any  # a kernel's own arrangement of the codes of some labels


class Fbgemm:
    """Behind `torch.quantize_per_tensor`."""

    fewest_queries = 1

    @staticmethod
    def bytes_per_label(dimension: int) -> int:
        """Of the packed codes."""
        return -(-dimension // 512) * 512 + 8

    @staticmethod
    def pack(codes_SD: Tensor) -> PackedCodes:
        """Label codes, int8 (S, D), as the kernel reads them."""
        return torch.ops.quantized.linear_prepack(torch._make_per_tensor_quantized_tensor(codes_SD, 1.0, 0), None)

    @staticmethod
    def multiply(codes_QD: Tensor, packed: PackedCodes) -> Tensor:
        """All products of query codes, whole float32 numbers (Q, D), and label codes: float32, (Q, S)."""
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        return multiply(codes_QD, 1.0, LARGEST_QUERY_CODE, packed)


class OneDnn:
    """Behind the operators that torch's compiler makes of quantized models."""

    fewest_queries = 2  # on a processor without VNNI one takes as long as in float32

    @staticmethod
    def bytes_per_label(dimension: int) -> int:
        """Of the packed codes."""
        return dimension + 12

    @staticmethod
    def pack(codes_SD: Tensor) -> PackedCodes:
        """Label codes, int8 (S, D), as the kernel reads them, with their scales and zero points."""
        count = len(codes_SD)
        zeros_S = torch.zeros(count, dtype=torch.int32)
        return torch.ops.onednn.qlinear_prepack(codes_SD, None), torch.ones(count), zeros_S

    @staticmethod
    def multiply(codes_QD: Tensor, packed: PackedCodes) -> Tensor:
        """All products of query codes, whole float32 numbers (Q, D), and label codes: float32, (Q, S)."""
        shifted_QD = (codes_QD + LARGEST_QUERY_CODE).to(torch.uint8)
        multiply = torch.ops.onednn.qlinear_pointwise
        return multiply(shifted_QD, 1.0, LARGEST_QUERY_CODE, *packed, None, 1.0, 0, torch.float32, "none", [], "")


Kernel = type[Fbgemm] | type[OneDnn]


def kernel(dimension: int) -> Kernel | None:
    """The kernel for vectors of so many numbers, None where this process has none (no x86 processor, another torch).

    FBGEMM only where codes and what it fills them up with take at most half as much again as float32 vectors.
    """
    if dimension > LARGEST_DIMENSION:
        return None
    return next(
        (one for one in _kernels() if one is OneDnn or one.bytes_per_label(dimension) <= 2 * dimension + 8), None
    )


@cache
def _kernels() -> tuple[Kernel, ...]:
    return tuple(candidate for candidate in (Fbgemm, OneDnn) if multiplies_exactly(candidate))


def multiplies_exactly(candidate: Kernel) -> bool:
    """Whether a kernel is there and its products of the largest codes, and of codes of all sizes, are exact."""
    labels_SD = torch.arange(-LARGEST_LABEL_CODE, LARGEST_LABEL_CODE + 1).repeat(66, 1)
    labels_SD[:33] = labels_SD[:33].sign() * LARGEST_LABEL_CODE
    labels_SD[::2] = LARGEST_LABEL_CODE
    queries_QD = (torch.arange(labels_SD.shape[1]) % (2 * LARGEST_QUERY_CODE + 1) - LARGEST_QUERY_CODE).repeat(3, 1)
    queries_QD[0], queries_QD[1] = LARGEST_QUERY_CODE, -LARGEST_QUERY_CODE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)  # torch says it once a process
            products_QS = candidate.multiply(queries_QD.float(), candidate.pack(labels_SD.to(torch.int8)))
    except _NOT_THERE:
        return False
    return torch.equal(products_QS, (queries_QD @ labels_SD.T).float())
