"""What torch makes of a product of float32 matrices, which the process may have told it to shorten."""

from __future__ import annotations


def float32_is_reduced() -> bool:
    """Whether the process lets torch multiply float32 matrices in tf32 or bfloat16 (it is a global setting).

    A bound on the rounding of such a product must then count with `2^-8` for each factor.

    >>> float32_is_reduced()
    False
    """
    import torch

    owners = (torch.backends, torch.backends.mkldnn, torch.backends.cuda)
    settings = [getattr(owner, "fp32_precision", "none") for owner in owners]
    settings += [getattr(owner.matmul, "fp32_precision", "none") for owner in owners[1:]]
    return any(setting not in ("none", "ieee") for setting in settings)
