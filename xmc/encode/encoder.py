"""What every text encoder of xmc can do, and how texts are run through one in bounded memory.

Shapes: N texts, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from xmc.encode.csr import concatenate_rows

Role = Literal["query", "label"]
ROLES: tuple[Role, Role] = ("query", "label")
Similarity = Literal["dot", "cosine"]
IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]
FeaturesT = TypeVar("FeaturesT", bound="Features")


class Features(Protocol):
    """Texts made ready for an encoder once, so that no epoch repeats the work."""

    def __len__(self) -> int:
        """Number of texts."""

    def take(self: FeaturesT, rows: IntArray) -> FeaturesT:
        """The features of the given texts, in the given order."""


@runtime_checkable
class Encoder(Protocol):
    """A trainable text encoder, shared by queries and labels or with a tower for each.

    `whole_label_graph` says that embedding all labels with gradient in one go is cheap (bags of token vectors);
    otherwise the trainer re-encodes the labels in chunks with cached gradients. The trainer sets `row_gradients` to ask
    for sparse gradients of token tables, for an optimiser that updates the rows that occur; others ignore it.
    """

    name: str
    dimension: int
    similarity: Similarity
    module: nn.Module
    whole_label_graph: bool
    row_gradients: bool

    def label_parameters(self) -> list[nn.Parameter]:
        """The parameters that only labels use; they may learn at a rate of their own."""

    def prepare(self, texts: Sequence[str], role: Role) -> Features:
        """Tokenise texts."""

    def embed(self, features: Features, role: Role) -> Tensor:
        """Embeddings (N, D), with gradient when torch's grad mode is on.

        Where `similarity` is cosine they have length 1, or 0 for a text of which nothing is known.
        """

    def save(self, folder: Path) -> None:
        """Write the encoder into an empty folder, in the layout that `SentenceTransformer(folder)` opens."""

    def save_training(self, folder: Path) -> None:
        """Write all that training needs to go on, bit for bit, into an empty folder."""


@runtime_checkable
class EncoderOptions(Protocol):
    """The options of an encoder plugin: a frozen dataclass that can build a new encoder or load a saved one."""

    def build(self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int) -> Encoder:
        """A fresh encoder for this corpus."""

    def load(self, folder: Path) -> Encoder:
        """The encoder that `Encoder.save` wrote."""

    def load_training(self, folder: Path) -> Encoder:
        """The encoder that `Encoder.save_training` wrote."""


def device_of(encoder: Encoder) -> torch.device:
    """Where the encoder's numbers lie; those of one without any are made on the processor."""
    numbers = (*encoder.module.parameters(), *encoder.module.buffers())
    return numbers[0].device if numbers else torch.device("cpu")


def chunks(count: int, size: int) -> Iterator[IntArray]:
    """Row numbers 0..count-1 in slices of at most `size`.

    >>> [rows.tolist() for rows in chunks(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def embed_chunks(encoder: Encoder, features: Features, role: Role, *, chunk_size: int = 4096) -> Iterator[Tensor]:
    """Embeddings without gradient, chunk by chunk, in order; the module is in evaluation mode meanwhile."""
    was_training = encoder.module.training
    encoder.module.eval()
    try:
        for rows in chunks(len(features), chunk_size):
            with torch.inference_mode():
                yield encoder.embed(features.take(rows), role).float()
    finally:
        encoder.module.train(was_training)


def embed_texts(encoder: Encoder, texts: Sequence[str], role: Role, *, chunk_size: int = 4096) -> Tensor:
    """Embeddings of texts, (N, D) float32, without gradient; a CSR tensor where the encoder's are."""
    return embed_features(encoder, encoder.prepare(texts, role), role, chunk_size=chunk_size)


def embed_features(encoder: Encoder, features: Features, role: Role, *, chunk_size: int = 4096) -> Tensor:
    """Embeddings of prepared texts, as `embed_texts`."""
    parts = embed_chunks(encoder, features, role, chunk_size=chunk_size)
    return concatenate_rows(parts, dimension=encoder.dimension)
