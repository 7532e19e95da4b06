"""Core's own optimisers, as the options that a run names in [optimizer]."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from xmc.api import ConfigError, OptimizerContext, require_share
from xmc.train.row_adagrad import RowAdagrad


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay; its decays are `second_moment_decay` and `weight_decay` of [train]."""

    def build(self, context: OptimizerContext) -> torch.optim.Optimizer:
        """One fused step where all weights are float32."""
        fused = all(parameter.dtype == torch.float32 for parameter in context.module.parameters())
        betas = (0.9, context.train.second_moment_decay)
        return torch.optim.AdamW(context.groups, betas=betas, weight_decay=context.train.weight_decay, fused=fused)


@dataclass(frozen=True)
class RowAdagradOptions:
    """Adagrad with one number for each row of a table; a step costs only the rows that the batch touches."""

    def build(self, context: OptimizerContext) -> RowAdagrad:
        """Asks the encoder for gradients of rows. Raises: ConfigError with a weight decay, which would touch all."""
        if context.train.weight_decay:
            raise ConfigError(
                f"[train] weight_decay is {context.train.weight_decay}, and the optimizer row-adagrad has none: decay "
                "would touch every row.",
                hint="Set train.weight_decay=0, or optimizer.name=adamw.",
            )
        if context.encoder is not None:
            context.encoder.row_gradients = True
        return RowAdagrad(context.groups, lr=context.train.learning_rate)


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent; `momentum` 0 is none, `nesterov` looks ahead along it."""

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_share(self, "momentum", whole=False)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum > 0, got 0")

    def build(self, context: OptimizerContext) -> torch.optim.Optimizer:
        """torch's own."""
        decay = context.train.weight_decay
        return torch.optim.SGD(context.groups, momentum=self.momentum, nesterov=self.nesterov, weight_decay=decay)
