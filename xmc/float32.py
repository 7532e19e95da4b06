"""What torch makes of a product of float32 matrices, which the process may have told it to shorten."""

from __future__ import annotations

_REDUCED_UNIT = 2.0**-8  # of bfloat16, the coarsest format that torch may be told to take


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
