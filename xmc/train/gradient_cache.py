"""Send the gradient of label embeddings through an encoder that is too large to embed all labels in one graph.

Exact: embed in chunks without a graph, get d loss / d embeddings, embed each chunk again with a graph under the same
random numbers (dropout), and back-propagate the cached gradient (Gao et al. 2021, Scaling deep contrastive learning).
"""

from __future__ import annotations

import torch
from torch import Tensor

from xmc.encode.encoder import Encoder, Features, Role, chunks
from xmc.encode.text_share import part_of_texts
from xmc.train.random_state import random_state, replayed


class CachedEmbeddings:
    """Embeddings (N, D) of features made chunk by chunk, whose gradient can be sent back later.

    `share` is that of these texts in all that a step embeds in this role (see `part_of_texts`).
    """

    def __init__(
        self,
        encoder: Encoder,
        features: Features,
        role: Role,
        *,
        chunk_size: int,
        precision: str = "float32",
        share: float = 1.0,
    ) -> None:
        self._encoder, self._features, self._role, self._precision = encoder, features, role, precision
        self._share = share
        self._chunks = list(chunks(len(features), chunk_size))
        self._random_states: list[Tensor] = []
        parts = []
        for rows in self._chunks:
            self._random_states.append(random_state())
            with torch.no_grad():
                parts.append(embed_in(precision, encoder, features.take(rows), role))
        self.embeddings_ND = torch.cat(parts)

    def backward(self, gradient_ND: Tensor) -> None:
        """Add the gradient with respect to the encoder's parameters to their `.grad`."""
        for rows, state in zip(self._chunks, self._random_states, strict=True):
            with replayed(state), part_of_texts(self._share * len(rows) / len(self._features)):
                embeddings = embed_in(self._precision, self._encoder, self._features.take(rows), self._role)
            embeddings.backward(gradient_ND[rows[0] : rows[-1] + 1])


class WholeGraphEmbeddings:
    """The same interface for an encoder whose graph over all texts is cheap: one pass, no second embedding."""

    def __init__(
        self, encoder: Encoder, features: Features, role: Role, *, precision: str = "float32", share: float = 1.0
    ) -> None:
        with part_of_texts(share):
            self._graph_ND = embed_in(precision, encoder, features, role)
        self.embeddings_ND = self._graph_ND.detach()

    def backward(self, gradient_ND: Tensor) -> None:
        """Add the gradient with respect to the encoder's parameters to their `.grad`."""
        self._graph_ND.backward(gradient_ND)


class NoEmbeddings:
    """The same interface for no texts at all: a rank's share of a batch smaller than the number of ranks."""

    def __init__(self, encoder: Encoder) -> None:
        parameter = next(encoder.module.parameters())
        self.embeddings_ND = parameter.new_empty((0, encoder.dimension))

    def backward(self, gradient_ND: Tensor) -> None:
        """Nothing to send."""


def embed_in(precision: str, encoder: Encoder, features: Features, role: Role) -> Tensor:
    """Embeddings (N, D), a network multiplying in this precision; in bfloat16 they come out as float32."""
    if precision != "bfloat16" or encoder.whole_label_graph:
        return encoder.embed(features, role)
    with torch.autocast(next(encoder.module.parameters()).device.type, torch.bfloat16):
        return encoder.embed(features, role).float()


def embed_with_gradient(
    encoder: Encoder,
    features: Features,
    role: Role,
    *,
    chunk_size: int,
    precision: str = "float32",
    passes: int = 1,
) -> CachedEmbeddings | WholeGraphEmbeddings | NoEmbeddings:
    """Embeddings whose gradient can be sent back: in one graph where that is cheap or small, else chunk by chunk.

    `passes` is how often this is done for one step, in all its batches and processes, with about as many texts each.
    """
    if len(features) == 0:
        return NoEmbeddings(encoder)
    share = 1 / passes
    if encoder.whole_label_graph or len(features) <= chunk_size:
        return WholeGraphEmbeddings(encoder, features, role, precision=precision, share=share)
    return CachedEmbeddings(encoder, features, role, chunk_size=chunk_size, precision=precision, share=share)
