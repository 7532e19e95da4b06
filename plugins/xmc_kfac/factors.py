"""The two factors of a layer's Fisher matrix: their average over steps, and their damped inverses.

A layer y = W a has the Fisher block A ⊗ G with A = E[a aᵀ] and G = E[g gᵀ], g the gradient of the loss of one sample
with respect to y. A diagonal factor is kept as the vector of its diagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor


def averaged(old: Tensor | None, new: Tensor, *, decay: float) -> Tensor:
    """decay x old + (1 - decay) x new; the first one is taken as it is."""
    return new if old is None else old.mul_(decay).add_(new, alpha=1 - decay)


def damped_inverses(inputs: Tensor, outputs: Tensor, *, damping: float) -> tuple[Tensor, Tensor]:
    """(A + pi sqrt(damping) I)^-1 and (G + sqrt(damping) / pi I)^-1.

    pi = sqrt(mean eigenvalue of A / mean eigenvalue of G), so that both factors are damped in proportion to their size.
    Without damping a singular factor has its pseudo-inverse.
    """
    pi = _balance(inputs, outputs)
    root = damping**0.5
    return _inverse(inputs, pi * root), _inverse(outputs, root / pi)


def _balance(inputs: Tensor, outputs: Tensor) -> float:
    mean_input, mean_output = (float(_diagonal(factor).mean()) for factor in (inputs, outputs))
    return (mean_input / mean_output) ** 0.5 if mean_input > 0 and mean_output > 0 else 1.0


def _diagonal(factor: Tensor) -> Tensor:
    return factor if factor.dim() == 1 else factor.diagonal()


def _inverse(factor: Tensor, damping: float) -> Tensor:
    """Made in float64: the condition of a factor is often near what float32 can tell from singular."""
    precise = factor.double()
    if factor.dim() == 1:
        damped = precise + damping
        return torch.where(damped > 0, 1 / damped, 0).to(factor.dtype)
    damped = precise + damping * torch.eye(len(factor), dtype=torch.float64, device=factor.device)
    triangle, failed = torch.linalg.cholesky_ex(damped)
    inverse = torch.linalg.pinv(damped, hermitian=True) if int(failed) else torch.cholesky_inverse(triangle)
    return inverse.to(factor.dtype).contiguous()  # by rows, as it is read from a checkpoint, so products round alike
