"""What a loss answers, checked: one number per query that a gradient can be taken of."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from xmc.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from xmc.api import RowStateLoss

HINT = "A loss answers the value of each query, not reduced: no .mean(), no .sum() over the queries."


def query_losses(loss: Callable[[Any], Tensor], inputs: Any, *, queries: int, gradient: bool = True) -> Tensor:
    """What `loss` answers to `inputs` of that many queries, (Q,), not reduced; with `gradient` it must have one.

    A single number would be taken for every query's, and its gradient would be too small by the number of queries. A
    parameter of the loss itself would stay as it is, for nothing trains it.
    Raises: PluginError naming the loss and what it answered instead.

    >>> import torch
    >>> query_losses(torch.mean, torch.ones(2, 3, requires_grad=True), queries=2)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    xmc.errors.PluginError: loss mean: one value per query is wanted, a tensor of shape (2,), got one of shape (). ...
    """
    import torch

    if not callable(loss):
        raise PluginError(f"loss {_named(loss)}: it cannot be called.", hint="Give its class __call__(self, inputs).")
    modes = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        answer = loss(inputs)
    except TypeError as error:
        if _takes_one(loss):
            raise
        raise PluginError(
            f"loss {_named(loss)}: it is called with one argument, the LossInputs, and does not take it: {error}.",
            hint="In the plugin: def __call__(self, inputs).",
        ) from error
    if modes != (torch.is_grad_enabled(), torch.get_default_dtype()):
        torch.set_grad_enabled(modes[0])
        torch.set_default_dtype(modes[1])
        raise PluginError(
            f"loss {_named(loss)}: it leaves torch's gradient mode or default dtype changed, for the whole program.",
            hint="In place of torch.set_grad_enabled(False): with torch.no_grad(). In place of a default dtype: dtype=",
        )
    answer = _one_each(answer, queries, said=f"loss {_named(loss)}: one value", hint=HINT)
    if name := _wants_gradient(loss):
        raise PluginError(
            f"loss {_named(loss)}: '{name}' wants a gradient, and nothing trains what belongs to a loss.",
            hint="Make it a setting, or a number of each query (xmc.api.RowStateLoss). A head has parameters.",
        )
    if gradient and not answer.requires_grad:
        raise PluginError(
            f"loss {_named(loss)}: its values have no gradient, so nothing can be learned from them.",
            hint="Make them of inputs.scores_QC with torch, without detach(), numpy() or torch.no_grad().",
        )
    return answer


def next_row_states(loss: RowStateLoss, inputs: Any, *, queries: int) -> Tensor:
    """What `loss.next_row_state` answers, the next number of each query (Q,), without gradient.

    Raises: PluginError naming the loss and what it answered instead.
    """
    answer = loss.next_row_state(inputs)
    return _one_each(answer, queries, said=f"loss {_named(loss)}, next_row_state: one number").detach()


def require_gradient(loss: object, gradient: Tensor | None) -> Tensor:
    """The gradient in the scores. Raises: PluginError when there is none, since the values do not depend on them."""
    if gradient is None:
        raise PluginError(f"loss {_named(loss)}: its values do not depend on inputs.scores_QC.")
    return gradient


def _wants_gradient(loss: object) -> str:
    """The first attribute that is or holds a parameter; '' when none does."""
    import torch

    for name, value in getattr(loss, "__dict__", {}).items():
        held = value.parameters() if isinstance(value, torch.nn.Module) else (value,)
        if any(isinstance(each, torch.Tensor) and each.requires_grad for each in held):
            return str(name)
    return ""


def _one_each(answer: Any, queries: int, *, said: str, hint: str = "") -> Tensor:
    import torch

    wanted = f"{said} per query is wanted, a tensor of shape ({queries},)"
    if not isinstance(answer, torch.Tensor):
        raise PluginError(f"{wanted}, got {type(answer).__module__}.{type(answer).__name__}.")
    if answer.shape != (queries,):
        raise PluginError(f"{wanted}, got one of shape {tuple(answer.shape)}.", hint=hint)
    return answer


def _takes_one(loss: Callable[[Any], Tensor]) -> bool:
    """Whether it can be called with one argument, as far as its signature tells."""
    try:
        inspect.signature(loss).bind(None)
    except TypeError:
        return False
    except ValueError:  # it tells nothing
        pass
    return True


def _named(loss: object) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))
