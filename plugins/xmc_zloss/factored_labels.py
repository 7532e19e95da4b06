"""The labels of the factored head: how they learn, and how they are searched and kept.

Shapes: Q queries, L labels, D width, P (query, positive) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xmc.api import ArtifactError, ConfigError, HeadBatch, HeadContext, Learned, NonFiniteError, QueryMap, query_losses
from xmc_zloss.factored_batch import FactoredBatch, ScoreStatistics
from xmc_zloss.factored_matrix import BLOCK_ROWS, FactoredMatrix
from xmc_zloss.factored_step import sgd_step
from xmc_zloss.stabilisation import stabilise
from xmc_zloss.statistics_inputs import StatisticsInputs

if TYPE_CHECKING:
    import numpy as np

    from xmc_zloss.factored_head import FactoredHead


@dataclass(frozen=True)
class _Pending:
    """A gradient that waits for its update."""

    batch: FactoredBatch
    gradient: ScoreStatistics


@dataclass
class FactoredLabels:
    """The built head; see `FactoredHead`. `kept` is the label matrix, once there is one."""

    options: FactoredHead
    context: HeadContext
    kept: FactoredMatrix | None = None
    steps: int = 0
    _pending: _Pending | None = field(default=None, repr=False)

    @property
    def matrix(self) -> FactoredMatrix:
        """The label matrix. Raises: ArtifactError while a head that is to be read has no state yet."""
        if self.kept is None:
            raise ArtifactError("the factored head has no state yet.", hint="Call load_state first.")
        return self.kept

    def parameters(self) -> list[torch.nn.Parameter]:
        """None: the head makes its own updates."""
        return []

    def learn(self, queries_QD: Tensor, batch: HeadBatch) -> Learned:
        """Loss of each query and gradient of their embeddings; the labels' own gradient waits for `update`.

        Raises: NonFiniteError naming the batch rows whose loss is not finite, or for a gradient that is not.
        """
        device, positives = queries_QD.device, batch.positives
        query_rows_P = torch.from_numpy(positives.query_rows()).to(device)
        label_rows_P = torch.from_numpy(positives.label_rows).long().to(device)
        weights_P = torch.from_numpy(positives.weights).to(device)
        seen = FactoredBatch.of(self.matrix, queries_QD, query_rows_P, label_rows_P)
        leaves = ScoreStatistics(*(each.requires_grad_() for each in seen.statistics()))
        inputs = StatisticsInputs.of(leaves, query_rows_P, label_rows_P, weights_P, scores_like_LD=self.matrix.table_LD)
        with torch.enable_grad():
            losses_Q = query_losses(self.context.loss, inputs, queries=len(queries_QD), gradient=False)
            _require_finite(losses_Q)
            gradients = torch.autograd.grad(losses_Q.sum(), leaves, materialize_grads=True)
        gradient = ScoreStatistics(*(each / len(queries_QD) for each in gradients))
        if not all(bool(torch.isfinite(each).all()) for each in gradient):
            raise NonFiniteError("the gradient of the loss is not finite.")
        self._pending = _Pending(seen, gradient)
        return Learned(losses_Q.detach(), seen.queries_gradient(gradient).to(queries_QD.dtype))

    def update(self, learning_rate_share: float) -> None:
        """One exact step of SGD on all labels.

        Raises: ConfigError when the rate is so high that training diverges, before anything is changed.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        rate = self.options.learning_rate * learning_rate_share
        sgd_step(pending.batch, pending.gradient, learning_rate=rate, weight_decay=self.options.weight_decay)
        self.steps += 1
        if self.steps % self.options.stabilise_every == 0:
            stabilise(self.matrix)

    def label_vectors(self, label_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        """The rows of V, which is what an index is built of."""
        for rows_N in torch.from_numpy(label_rows).long().split(BLOCK_ROWS):
            yield self.matrix.table_LD[rows_N.to(self.matrix.table_LD.device)]

    def query_map(self) -> QueryMap:
        """Score = V (U h) + w · h; the last term is the same for all labels."""
        return QueryMap(*self.matrix.query_map())

    def state(self) -> dict[str, Tensor]:
        """All tensors of the matrix, and the number of steps made."""
        return {**self.matrix.state(), "steps": torch.tensor([self.steps])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave. Raises: ArtifactError when a tensor is missing or of another shape."""
        labels, dimension = self.context.labels, self.context.dimension
        square, row = (dimension, dimension), (dimension,)
        shapes = {"table_LD": (labels, dimension), "mixing_DD": square, "inverse_DD": square, "gram_DD": square}
        for name, shape in {**shapes, "shift_D": row, "mean_D": row, "steps": (1,)}.items():
            found = tuple(state[name].shape) if name in state else None
            if found != shape:
                raise ArtifactError(f"the state of head 'zloss.factored': {name} must be {shape}, got {found}.")
        tensors = {name: tensor.clone().to(self.context.device) for name, tensor in state.items() if name != "steps"}
        self.kept, self.steps, self._pending = FactoredMatrix(**tensors), int(state["steps"]), None


def _require_finite(losses_Q: Tensor) -> None:
    if losses_Q.is_meta:
        raise ConfigError("the loss says that it needs moments only, and looked at the scores all the same.")
    if not bool(torch.isfinite(losses_Q).all()):
        rows = torch.nonzero(~torch.isfinite(losses_Q)).flatten().tolist()
        raise NonFiniteError(f"the loss is not finite for batch rows {rows[:5]} ({len(rows):,} in all).")
