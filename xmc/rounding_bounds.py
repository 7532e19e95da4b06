"""How far the scores of a quick matrix product can be from the true ones: what a search must allow for to lose no hit.

Shapes: Q queries, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    Norms = TypeVar("Norms", float, Tensor)

_UNIT = 2.0**-24  # largest relative error of rounding to float32
_TINY = 2.0**-126  # a result or an operand below it may be flushed to zero
_SLACK = 1.05  # room for the terms of higher order and for the rounding of the bound itself
_REDUCED_UNIT = 2.0**-8  # of bfloat16, the coarsest format that torch may be told to take


def rounding_bounds(
    norms_Q: Norms,
    largest_norm: float,
    *,
    dimension: int,
    addition: float = _UNIT,
    further: float = 0.0,
    scales: Norms | float = 1.0,
) -> Norms:
    """Limits of |score - q.l| for queries of these Euclidean norms and any label vector of at most `largest_norm`.

    A sum of D products, in any order, is off by at most D u (1 + O(D u)) times the sum of their sizes, u = `addition`,
    and that sum is at most |q| |l| by Cauchy and Schwarz; eight units more are room for a few roundings before and
    after. `further` is the relative error of all else: of factors that are shortened (`float32_product_error`), of a
    coarser format of the score. Near zero errors are absolute. D steps lose less than `_TINY` each where their result
    is flushed to zero, and so do the D numbers of either vector, times those of the other. Together

        1.05 (((D + 8) u + further) |q| |l| + D 2^-126 (s + |q| + |l|)),

    a line in |q|. s = `scales` is 1, or for vectors that were scaled what a score is multiplied by.

    Norms are to be summed in float64: in float32 the squares of numbers below 1e-19 vanish, and the bound with them.

    Reference: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1 (gamma_n, any order).

    >>> rounding_bounds(1.0, 1.0, dimension=384) < 2.5e-5
    True
    """
    lost = dimension * _TINY
    per_norm = ((dimension + 8) * addition + further) * largest_norm + lost
    return _SLACK * (per_norm * norms_Q + lost * (scales + largest_norm))


def float32_product_error() -> float:
    """By how much more than float32's rounding a product of two numbers may be off, as a share of it.

    0.0, unless the process lets torch multiply float32 matrices in tf32 or bfloat16 (it is a global setting): then both
    factors are rounded to 8 bits.

    >>> float32_product_error()
    0.0
    """
    import torch

    owners = (torch.backends, torch.backends.mkldnn, torch.backends.cuda)
    settings = [getattr(owner, "fp32_precision", "none") for owner in owners]
    settings += [getattr(owner.matmul, "fp32_precision", "none") for owner in owners[1:]]
    return 2.02 * _REDUCED_UNIT if any(setting not in ("none", "ieee") for setting in settings) else 0.0
