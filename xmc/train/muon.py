"""Muon for the matrices of layers, AdamW for all else, as one optimiser with one state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xmc.api import OptimizerContext, require_positive, require_share


@dataclass(frozen=True)
class Muon:
    """`torch.optim.Muon` for the weight matrices of layers, AdamW at `others_rate` for tables, biases and the like.

    [train] `learning_rate` is that of the matrices, `label_learning_rate` that of all that only labels use,
    `weight_decay` that of both. An encoder that is a table alone, as `static`, has no such matrix: it learns as with
    AdamW at `others_rate`.
    """

    momentum: float = 0.95
    others_rate: float = 0.003

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_share(self, "momentum", whole=False)
        require_positive(self, "others_rate")

    def build(self, context: OptimizerContext) -> torch.optim.Optimizer:
        """Both, over the groups split in two."""
        layers = {id(parameter) for parameter in layer_matrices(context.module)}
        matrices: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for group in context.groups:
            for target, wanted in ((matrices, True), (others, False)):
                parameters = [each for each in group["params"] if (id(each) in layers) == wanted and each.requires_grad]
                rates = {"lr": self.others_rate, "peak_lr": self.others_rate}
                if wanted or group.get("own_rate"):
                    rates = {}
                if parameters:
                    target.append({**group, **rates, "params": parameters})
        decay = context.train.weight_decay
        parts: list[torch.optim.Optimizer] = []
        if matrices:
            parts.append(torch.optim.Muon(matrices, momentum=self.momentum, weight_decay=decay))
        if others:
            betas = (0.9, context.train.second_moment_decay)
            parts.append(torch.optim.AdamW(others, betas=betas, weight_decay=decay))
        return Together(parts)


def layer_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The weight matrices of linear and recurrent layers."""
    layers = (nn.Linear, nn.RNNBase)
    return [
        parameter
        for layer in module.modules()
        if isinstance(layer, layers)
        for parameter in layer.parameters(recurse=False)
        if parameter.dim() == 2
    ]


class Together(torch.optim.Optimizer):
    """Several optimisers over parameters of their own that step, save and load as one."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self._parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the parts work on this optimiser's groups and state."""
        groups = iter(self.param_groups)
        for part in self._parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """A step of each."""
        del closure
        for part in self._parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, for the parts as well."""
        super().load_state_dict(state_dict)
        self._share()
