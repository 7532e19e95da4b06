"""The loss that another one is built over, by the name a configuration gives it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any

from xmc.api import Loss, RowStateLoss

PASSED_ON = frozenset({"moments"})  # of what a loss may need: the scores themselves


def base_loss(name: str, options: Mapping[str, Any]) -> Loss:
    """The loss of this full name, of an installed plugin or of the plugin file in use, with these options.

    Raises: ValueError for an unknown name, an unknown or wrong option, a loss that pools the batch, and one that sees
    or keeps more of a query than its scores, of which there is nothing for a bag.

    >>> base_loss("baselines.info-nce", {"temperature": 0.5})
    InfoNce(temperature=0.5, correct_sampling=False)
    """
    cls = _loss_class(name)
    allowed = list(inspect.signature(cls).parameters)
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(f"base_options of {name!r} has no key {unknown[0]!r} (it has: {', '.join(allowed) or 'none'})")
    try:
        loss: Loss = cls(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"base_options of {name!r}: {error}") from error
    if missing := sorted(set(getattr(loss, "needs", ())) - PASSED_ON):
        raise ValueError(
            f"base must be a loss of scores and labels alone, and {name!r} needs {' and '.join(missing)} too"
        )
    if isinstance(loss, RowStateLoss):
        raise ValueError(f"base must be a loss without a memory, and {name!r} keeps a number for each query")
    return loss


def _loss_class(name: str) -> type[Any]:
    plugin, _, short = name.rpartition(".")
    found = _installed(plugin or name) or [sys.modules.get(plugin or name)]  # a plugin file is the module of its name
    offered = {spec.name: spec for module in found for spec in getattr(module, "xmc_losses", list)()}
    if short not in offered:
        raise ValueError(
            "base must be the full name of a loss, of an installed plugin or of the file that --plugin-file gives "
            f"(see: xmc plugins --kind loss), got {name!r}"
        )
    if offered[short].pool != "row":
        raise ValueError(f"base must be a loss of single queries, and {name!r} pools the whole batch")
    cls: type[Any] = offered[short].load()
    return cls


@cache
def _installed(plugin: str) -> list[Any]:
    return [entry.load() for entry in metadata.entry_points(group="xmc", name=plugin)]
