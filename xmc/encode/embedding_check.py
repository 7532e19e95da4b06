"""Whether an encoder's embeddings are what the rest takes them for: seen on a few texts, before training is planned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.encode.encoder import Encoder, Features, Role
from xmc.errors import PluginError

TEXTS = 4
TOLERANCE = 0.01  # of a length, in half precision too


def require_embeddings(encoder: Encoder, features: Features, role: Role) -> None:
    """Look at the first of these texts: one vector of the encoder's width each, of length 1 where it says cosine.

    An index normalises where the similarity is cosine and training does not, so that the model would be searched by
    other scores than it learned. Raises: PluginError saying what embed() answers and what is wanted.
    """
    count = min(len(features), TEXTS)
    was_training = encoder.module.training
    encoder.module.eval()
    try:
        with torch.enable_grad():
            answer: Any = encoder.embed(features.take(np.arange(count)), role)
    finally:
        encoder.module.train(was_training)
    wanted = (count, encoder.dimension)
    if not isinstance(answer, Tensor) or not answer.is_floating_point() or answer.shape != wanted:
        got = f"of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise _wrong(encoder, role, f"wanted is a floating-point tensor of shape {wanted}, got {got}")
    if answer.layout != torch.strided:
        return
    if not answer.requires_grad and any(parameter.requires_grad for parameter in encoder.module.parameters()):
        raise _wrong(encoder, role, "its answer has no gradient", "Without detach(), numpy() or torch.no_grad().")
    lengths_N = answer.detach().float().norm(dim=1)
    is_unit_N = ((lengths_N - 1).abs() <= TOLERANCE) | (lengths_N == 0) | ~lengths_N.isfinite()
    if encoder.similarity == "cosine" and not bool(is_unit_N.all()):
        raise _wrong(
            encoder,
            role,
            f"its similarity is 'cosine', and an embedding has the length {float(lengths_N[~is_unit_N][0]):.3g}",
            "Divide each by its length (that of no known word may be 0), or say 'dot'.",
        )


def _wrong(encoder: Encoder, role: Role, what: str, hint: str = "") -> PluginError:
    return PluginError(f"encoder '{encoder.name}': embed() of the role '{role}': {what}.", hint=hint)
