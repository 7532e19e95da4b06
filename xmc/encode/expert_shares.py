"""Which experts of a mixture the texts go to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xmc.encode.encoder import Encoder, Role, embed_texts
from xmc.encode.mixture import MixtureOfExperts
from xmc.errors import ConfigError


def expert_shares(encoder: Encoder, texts: Sequence[str], role: Role) -> Tensor:
    """The share of the kept places that each expert has among these texts, (E,); sums to 1.

    Raises: ConfigError for an encoder without a mixture.
    """
    layers = [module for module in encoder.module.modules() if isinstance(module, MixtureOfExperts)]
    if not layers:
        raise ConfigError(
            f"the encoder '{encoder.name}' has no mixture of experts.",
            hint="The encoders 'moe-static' and 'moe-sentence-transformers' have one.",
        )
    totals_E = torch.zeros(layers[0].options.experts, dtype=torch.float64)

    def seen(layer: nn.Module, arguments: tuple[Any, ...], _: Tensor) -> None:
        assert isinstance(layer, MixtureOfExperts)
        totals_E.add_(len(arguments[0]) * layer.shares(arguments[0]).double().cpu())

    hooks = [layer.register_forward_hook(seen) for layer in layers]
    try:
        embed_texts(encoder, texts, role)
    finally:
        for hook in hooks:
            hook.remove()
    return totals_E / max(1, len(texts))
