"""The label matrix of a classifier head: scores are products with the queries, so A is the queries' second moment.

G, the L x L matrix of the labels' score gradients, is kept diagonal and is row Adagrad's one number a label: the Fisher
value p (1 - p) of a rare label is next to nothing, and a step divided by it would know no bound.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from xmc_kfac.factors import averaged, damped_inverses


class QueryMoment:
    """Multiplies gradients of label rows by (A + damping I)^-1, A being scaled to a mean eigenvalue of 1."""

    def __init__(self, dimension: int, *, damping: float, decay: float, inverse_steps: int, device: str) -> None:
        self._damping, self._decay, self._inverse_steps = damping, decay, inverse_steps
        self._step = 0
        self._moment_DD = torch.zeros(dimension, dimension, device=device)
        self._inverse_DD = torch.eye(dimension, device=device)

    @torch.no_grad()
    def observe(self, queries_QD: Tensor) -> None:
        """Average the second moment of these queries in; what is not finite is passed over."""
        queries_QD = queries_QD.float()
        moment_DD = queries_QD.T @ queries_QD / max(len(queries_QD), 1)
        trace = moment_DD.diagonal().sum()
        if not bool(torch.isfinite(trace)) or float(trace) <= 0:
            return
        self._moment_DD = averaged(self._moment_DD if self._step else None, moment_DD, decay=self._decay)
        if self._step % self._inverse_steps == 0:
            scaled_DD = self._moment_DD * (len(self._moment_DD) / self._moment_DD.diagonal().sum())
            self._inverse_DD, _ = damped_inverses(scaled_DD, scaled_DD.new_ones(1), damping=self._damping**2)
        self._step += 1

    def apply(self, gradient_RD: Tensor) -> Tensor:
        """Rows x inverse."""
        return gradient_RD @ self._inverse_DD.to(gradient_RD.dtype)

    def state(self) -> dict[str, Tensor]:
        """The moment, its inverse as it is in use, and the number of batches seen."""
        step = torch.tensor(self._step)
        return {"moment": self._moment_DD, "inverse": self._inverse_DD, "step": step}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave; an empty state is that of a head which learned without."""
        if state:
            self._step = int(state["step"])
            self._moment_DD = state["moment"].to(self._moment_DD.device)
            self._inverse_DD = state["inverse"].to(self._inverse_DD.device)
