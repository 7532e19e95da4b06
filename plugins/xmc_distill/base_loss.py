"""What every loss here is added to: the decoupled softmax; and the check of a weight."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import LossInputs


def log_shares(inputs: LossInputs, temperature: float) -> Tensor:
    """log [exp(s_p) / (exp(s_p) + Σ over negatives n of exp(s_n))] of each positive, (P,), s = score / temperature."""
    logits_P, log_negatives_Q = inputs.log_sum_exp("negatives", temperature=temperature)
    return logsigmoid(logits_P - log_negatives_Q[inputs.positive_rows_P])


def require_positive(options: Any, *names: str) -> None:
    """Raises: ValueError when one of these fields is not a finite number above 0."""
    for name in names:
        if not 0 < getattr(options, name) < math.inf:
            raise ValueError(f"{name} must be a finite number > 0, got {getattr(options, name)}")


def require_weights(options: Any, *names: str) -> None:
    """Raises: ValueError when one of these fields is not a finite number of at least 0."""
    for name in names:
        if not 0 <= getattr(options, name) < math.inf:
            raise ValueError(f"{name} must be a finite number >= 0, got {getattr(options, name)}")
