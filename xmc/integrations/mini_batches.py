"""Embed the texts of a batch a few at a time, keeping their embeddings and nothing else for the way back.

The activations of a part are made once more when its gradient is due, from the same random numbers (dropout), so the
gradient is that of one pass (Gao et al. 2021, Scaling deep contrastive learning).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xmc.errors import ConfigError


def slices(features: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """Padded features of B texts in parts of at most `size` texts; what is not one row a text goes to every part.

    Raises: ConfigError for features whose texts do not lie in rows of one matrix (static embeddings, flattened
    batches).

    >>> [len(part["attention_mask"]) for part in slices({"attention_mask": torch.ones(5, 3)}, 2)]
    [2, 2, 1]
    """
    mask = features.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        raise ConfigError(
            "mini_batch_size needs a model whose texts are padded to a matrix; this one has "
            f"{', '.join(sorted(features))}.",
            hint="Leave it out: static embeddings are small.",
        )
    texts = mask.shape[0]
    return [
        {
            key: value[start : start + size]
            if isinstance(value, Tensor) and value.dim() and value.shape[0] == texts
            else value
            for key, value in features.items()
        }
        for start in range(0, texts, size)
    ]


def embed(model: nn.Module, parts: Iterable[dict[str, Any]], *, recompute: bool) -> Tensor:
    """The sentence embeddings (N, D) of all parts, one after the other."""
    if not (recompute and torch.is_grad_enabled()):
        return torch.cat([model(part)["sentence_embedding"] for part in parts])
    return torch.cat([checkpoint(_embed_copy, model, part, use_reentrant=False) for part in parts])


def _embed_copy(model: nn.Module, features: dict[str, Any]) -> Tensor:
    # the modules write into their features, some into the very tensors; the second pass must find them as they were
    copies = {key: value.clone() if isinstance(value, Tensor) else value for key, value in features.items()}
    return model(copies)["sentence_embedding"]
