"""The optimiser of a run, and the check that its gradients are finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from xmc.api import ConfigError, OptimizerContext, OptimizerOptions, PluginError
from xmc.encode.encoder import Encoder
from xmc.optimizer_contract import as_saved
from xmc.train.core_optimizers import AdamW
from xmc.train.distributed import ALONE, Ranks
from xmc.train.options import TrainOptions


def make_optimizer(
    encoder: Encoder, train: TrainOptions, options: OptimizerOptions | None = None, *, processes: int = 1
) -> torch.optim.Optimizer:
    """The optimiser of `options` (None: AdamW), labels' own parameters in a group of their own.

    `peak_lr` of a group is the rate that the schedule scales; `own_rate` marks the labels' where [train] names it.

    Raises: ConfigError for an encoder without parameters, and for options of [train] that it cannot work with;
    PluginError for an optimiser that no schedule can set or no checkpoint hold.
    """
    own = encoder.label_parameters()
    own_ids = {id(parameter) for parameter in own}
    others = [parameter for parameter in encoder.module.parameters() if id(parameter) not in own_ids]
    rates = (train.learning_rate, train.label_learning_rate or train.learning_rate)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "lr": rate, "peak_lr": rate}
        for parameters, rate in zip((others, own), rates, strict=True)
        if parameters
    ]
    if own and train.label_learning_rate:
        groups[-1]["own_rate"] = True
    if not groups:
        raise ConfigError(
            f"the encoder '{encoder.name}' has nothing that a training in steps could change.",
            hint="Take a head that is fitted in one go, such as that of --plugin linear, or another encoder.",
        )
    optimizer = (options or AdamW()).build(OptimizerContext(groups, encoder.module, train, encoder, processes))
    _require_rates(optimizer, options)
    as_saved(optimizer.state_dict())  # what a checkpoint cannot hold is refused before anything is learned
    return optimizer


def _require_rates(optimizer: torch.optim.Optimizer, options: OptimizerOptions | None) -> None:
    """Raise the PluginError of what is no optimiser, and of one whose rate the schedule cannot set."""
    name = type(options).__name__
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise PluginError(
            f"optimizer {name}: build() answers a {type(optimizer).__name__}, wanted is a torch.optim.Optimizer."
        )
    lacking = [key for group in optimizer.param_groups for key in ("lr", "peak_lr") if key not in group]
    if lacking:
        raise PluginError(
            f"optimizer {name}: a parameter group has no '{lacking[0]}', by which the schedule sets its rate.",
            hint="Make it of context.groups; a group made of others keeps their 'lr' and 'peak_lr'.",
        )


def clip_gradients(
    parameters: Iterable[nn.Parameter], limit: float, *, own: Iterable[nn.Parameter] = (), ranks: Ranks = ALONE
) -> bool:
    """Scale the gradients so that their total norm is at most `limit` (0 = leave them); whether that norm is finite.

    `parameters` are the same on all `ranks`; each rank has some that are its `own`.
    """
    values, own_values = _all_values(parameters), _all_values(own)
    if ranks.size == 1:
        norm = torch.nn.utils.get_total_norm([*values, *own_values])
    else:
        own_squared = ranks.sum(torch.nn.utils.get_total_norm(own_values).double().square().cpu())
        norm = (torch.nn.utils.get_total_norm(values).double().square() + own_squared).sqrt()
    if limit and norm > limit:
        for value in (*values, *own_values):
            value.mul_(limit / norm)
    return bool(torch.isfinite(norm))


def _all_values(parameters: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    return [_values(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]


def _values(parameter: nn.Parameter, gradient: torch.Tensor) -> torch.Tensor:
    """The numbers of a dense or sparse gradient, as a view that can be scaled in place."""
    if not gradient.is_sparse:
        return gradient
    rows = gradient._indices()
    if len(rows) == 1 and bool((rows[0, 1:] > rows[0, :-1]).all()):
        gradient._coalesced_(True)  # which autograd forgets; to sort and copy the rows would change nothing
    # queries and labels of one table give entries for the same row, whose norm is that of their sum
    parameter.grad = gradient = gradient.coalesce()
    return gradient._values()
