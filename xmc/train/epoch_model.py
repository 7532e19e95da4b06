"""The model at the start of an epoch, as an augmentation sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import EpochModel, Head
from xmc.encode.encoder import Encoder, Features, embed_chunks
from xmc.errors import ConfigError
from xmc.train.scorer import rows_in_memory, score_rows


def epoch_model(encoder: Encoder, head: Head, queries: Features, *, labels: int, score_memory_mb: int) -> EpochModel:
    """Encoder, all label vectors, and the scores of prepared queries; scores are made when they are asked for.

    Raises: ConfigError for a head that maps queries before they are scored.
    """
    if head.query_map() is not None:
        raise ConfigError(
            "this augmentation looks at the scores of the model, and the head maps queries before it scores them.",
            hint="Use the head 'dual-encoder' or 'classifier', or an augmentation that does not need the model.",
        )
    labels_LD = torch.cat([chunk.detach() for chunk in head.label_vectors(np.arange(labels))])
    size = rows_in_memory(labels, score_memory_mb, device=labels_LD.device.type)

    def scores(query_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        out_RL: Tensor | None = None
        for queries_QD in embed_chunks(encoder, queries.take(query_rows), "query", chunk_size=min(size, 1024)):
            if out_RL is None:
                out_RL = labels_LD.new_empty(len(queries_QD), labels)
            yield score_rows(queries_QD, labels_LD, out=out_RL[: len(queries_QD)])

    return EpochModel(encoder, labels_LD, scores)
