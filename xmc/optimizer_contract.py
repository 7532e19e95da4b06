"""What an optimiser is: how the parameters of an encoder learn, and how a checkpoint holds its state.

It can also have a say in how a label matrix learns (`LabelOptimizerOptions`).
Shapes: Q queries, R rows of a label matrix, D width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from xmc.errors import PluginError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

HINT = "A checkpoint holds tensors, numbers, texts and lists of these by the parameter's entry: keep it as one of them."


@dataclass(frozen=True)
class OptimizerContext:
    """What an optimiser is built from.

    `groups` are torch parameter groups over all parameters that learn; each has `lr` and `peak_lr`. Before every step
    the engine sets `lr` of each group of the optimiser to `peak_lr` times the schedule's share, so a group that is made
    of others keeps both keys. A group with `own_rate` has the rate that [train] `label_learning_rate` names, which goes
    before the rates that an optimiser has for kinds of parameters. `module` holds the same parameters, for an optimiser
    that looks at layers: an encoder may run it several times before one step, on chunks of the texts, and the gradient
    is that of the batch's mean loss. `train` are the options of [train], `encoder` is the encoder, `processes` says how
    many train together.
    """

    groups: list[dict[str, Any]]
    module: nn.Module
    train: Any
    encoder: Any = None
    processes: int = 1


@runtime_checkable
class OptimizerOptions(Protocol):
    """The options of an optimiser plugin: a frozen dataclass that builds a `torch.optim.Optimizer`.

    All that a later step depends on is in the optimiser's `state_dict()`: tensors and plain JSON values in the state of
    a parameter, plain JSON values in its groups. A checkpoint holds nothing else of it.
    """

    def build(self, context: OptimizerContext) -> torch.optim.Optimizer:
        """The optimiser of a fresh run. Raises: ConfigError for an option of [train] that it cannot work with."""


class LabelPreconditioner(Protocol):
    """Turns the gradient of a label matrix before the head's own optimiser takes its step."""

    def observe(self, queries_QD: Tensor) -> None:
        """See the embeddings of a step's queries, before `apply` of that step."""

    def apply(self, gradient_RD: Tensor) -> Tensor:
        """The gradient of some rows of the matrix, turned."""

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""


@runtime_checkable
class LabelOptimizerOptions(OptimizerOptions, Protocol):
    """The options of an optimiser that reaches into a classifier head as well."""

    def label_preconditioner(self, *, dimension: int, device: str) -> LabelPreconditioner | None:
        """A fresh preconditioner for a label matrix of this width; None to leave the head alone."""


def as_saved(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's `state_dict()` as a checkpoint holds it: its tensors by name, and the rest as JSON.

    Raises: PluginError naming what is neither, for a resumed run would go on without it.
    """
    from torch import Tensor

    if unknown := sorted(state.keys() - {"state", "param_groups"}):
        raise PluginError(
            f"the optimiser's state_dict() has {unknown[0]!r} beside 'state' and 'param_groups'.", hint=HINT
        )
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for row, entries in state["state"].items():
        if not isinstance(row, int) or not isinstance(entries, Mapping):
            raise PluginError(f"the optimiser's state has an entry {row!r}, which is no parameter's.", hint=HINT)
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{row}.{key}"] = value.contiguous()
            else:
                plain.setdefault(str(row), {})[key] = _plain(key, value, "the state of a parameter")
    for group in state["param_groups"]:
        for key, value in group.items():
            _plain(key, list(value) if isinstance(value, tuple) else value, "a parameter group")
    scalars = {"param_groups": state["param_groups"], "state": plain}
    return tensors, scalars if plain else {"param_groups": state["param_groups"]}


def from_saved(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimiser that `as_saved` took apart."""
    state: dict[int, dict[str, Any]] = {int(row): dict(entries) for row, entries in scalars.get("state", {}).items()}
    for name, value in tensors.items():
        row, _, key = name.partition(".")
        state.setdefault(int(row), {})[key] = value
    return {"state": state, "param_groups": scalars["param_groups"]}


def _plain(key: str, value: Any, where: str) -> Any:
    """The value, which comes back from JSON as it was."""
    if value is None or isinstance(value, bool | int | str):
        return value
    try:
        comes_back = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        comes_back = False
    if not comes_back:
        kept = value if isinstance(value, float) else type(value).__name__
        raise PluginError(f"the optimiser keeps {key!r} as {kept} in {where}.", hint=HINT)
    return value
