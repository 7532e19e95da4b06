"""What every loss here is added to: the decoupled softmax."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import LossInputs


def log_shares(inputs: LossInputs, temperature: float) -> Tensor:
    """log [exp(s_p) / (exp(s_p) + Σ over negatives n of exp(s_n))] of each positive, (P,), s = score / temperature."""
    logits_P, log_negatives_Q = inputs.log_sum_exp("negatives", temperature=temperature)
    return logsigmoid(logits_P - log_negatives_Q[inputs.positive_rows_P])
