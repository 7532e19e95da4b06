"""What a loss keeps for each training query from one visit to the next, by the query's row in the training data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import RowStateLoss

STATE_NAME = "optimiser.row_state"  # so named it is in checkpoints, but not in the trained model


class RowState:
    """One float32 number a training query, at its start until the first visit.

    What `keep` is given waits until `commit`, so that a step that fails leaves everything as it was.

    >>> from xmc_ldr.aldr_kl import AldrKl
    >>> state, rows = RowState(AldrKl(lambda_=0.5)), np.array([3, 1])
    >>> _ = state.before(rows)
    >>> state.keep(rows, torch.tensor([0.3, 0.4]))
    >>> state.commit()
    >>> [round(value, 1) for value in state.before(np.array([1, 2, 3])).tolist()]
    [0.4, 0.5, 0.3]
    """

    def __init__(self, loss: RowStateLoss, *, device: str = "cpu") -> None:
        self._start = loss.row_state_start
        self._values_N = torch.empty(0, dtype=torch.float32, device=device)
        self._kept: tuple[Tensor, Tensor] | None = None

    def before(self, query_rows_Q: np.ndarray[Any, Any]) -> Tensor:
        """The state of these queries, (Q,)."""
        missing = int(query_rows_Q.max(initial=-1)) + 1 - len(self._values_N)
        if missing > 0:
            self._values_N = torch.cat((self._values_N, self._values_N.new_full((missing,), self._start)))
        return self._values_N[self._places(query_rows_Q)]

    def keep(self, query_rows_Q: np.ndarray[Any, Any], states_Q: Tensor) -> None:
        """Hold the next state of these queries, rows that `before` was asked for, until `commit`."""
        self._kept = self._places(query_rows_Q), states_Q.to(self._values_N)

    def commit(self) -> None:
        """Take over what was kept last."""
        if self._kept is not None:
            places_Q, states_Q = self._kept
            self._values_N[places_Q] = states_Q
            self._kept = None

    def state(self) -> dict[str, Tensor]:
        """The states so far."""
        return {STATE_NAME: self._values_N}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self._values_N = state[STATE_NAME].to(self._values_N, copy=True)
        self._kept = None

    def _places(self, query_rows_Q: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(query_rows_Q).to(self._values_N.device)
