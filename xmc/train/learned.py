"""What a head answers to a batch, checked: a loss for each query, and the gradient of each embedding."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from xmc.api import Head, Learned, PluginError


def checked(learned: Learned, queries_QD: Tensor, head: Head) -> Learned:
    """The answer to these embeddings. Raises: PluginError naming what of it has another form.

    >>> import torch
    >>> checked(Learned(torch.ones(()), torch.ones(2, 3)), torch.ones(2, 3), "head")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    xmc.errors.PluginError: head str: learn() answers losses_Q of shape (), wanted is (2,). ...
    """
    if not isinstance(learned, Learned):
        raise _wrong(head, f"answers a {type(learned).__name__}")
    wanted = {"losses_Q": queries_QD.shape[:1], "queries_gradient_QD": queries_QD.shape}
    for name, shape in wanted.items():
        value: Any = getattr(learned, name)
        if not isinstance(value, Tensor):
            raise _wrong(head, f"answers {name} as {type(value).__name__}")
        if value.shape != shape:
            raise _wrong(head, f"answers {name} of shape {tuple(value.shape)}, wanted is {tuple(shape)}")
    return learned


def _wrong(head: Head, what: str) -> PluginError:
    return PluginError(
        f"head {type(head).__name__}: learn() {what}.",
        hint="It answers Learned(losses_Q, queries_gradient_QD): the loss of each query, (Q,), and the gradient of "
        "their mean in the embeddings, (Q, D).",
    )
