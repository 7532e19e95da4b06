"""The label vectors of a run, moved towards its training queries as `[labels]` asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.data.dataset import Dataset
from xmc.data.tables import LabelTable
from xmc.encode.csr import concatenate_rows
from xmc.encode.encoder import chunks as chunks_of
from xmc.encode.encoder import embed_chunks, embed_texts
from xmc.engine.index_rows import among, same_labels
from xmc.engine.label_moves import LABELS_AT_ONCE, MovableLabels, choose_query_weight, movable_labels
from xmc.engine.run_config import RunConfig
from xmc.engine.training_set import validation_queries
from xmc.errors import ConfigError
from xmc.retrieve.label_edits import LabelEdits
from xmc.retrieve.label_means import LabelMeans
from xmc.retrieve.trained_model import TrainedModel
from xmc.train.dual_encoder import DualEncoderOptions

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.encode.encoder import Features


@dataclass(frozen=True, eq=False)
class MovedLabels:
    """The vectors of all labels in chunks, which of them were moved, how far, and how that was chosen."""

    chunks: Iterator[Tensor]
    means: LabelMeans | None
    facts: dict[str, Any]


def require_movable_head(config: RunConfig) -> None:
    """Refuse to move labels that have vectors of their own, before any data are read. Raises: ConfigError."""
    if config.labels.query_weight and not isinstance(config.head.options, DualEncoderOptions):
        raise ConfigError(
            f"[labels] query_weight moves the labels of the head 'dual-encoder', got '{config.head.name}'.",
            hint="Leave it at 0: a head with vectors of its own learns them from the training queries.",
        )


def require_movable(config: RunConfig, data: Dataset) -> None:
    """Refuse a weight that cannot be chosen, which is known before anything is trained. Raises: ConfigError."""
    if config.labels.query_weight == "auto" and validation_queries(data, config) is None:
        raise ConfigError(
            "[labels] query_weight is chosen on a dev split, and there is none.",
            hint="Set it yourself: --set labels.query_weight=0.25. Or train anew with train.validation_share > 0.",
        )


def moved_labels(
    config: RunConfig,
    data: Dataset,
    model: TrainedModel,
    labels: LabelTable,
    edits: LabelEdits,
    chunks: Iterator[Tensor],
    train_features: Features | None = None,
) -> MovedLabels:
    """The labels of an index, whose `chunks` are of their texts, moved towards their training queries.

    A label that has another text stays where it is: its queries were asked for the old one. So does one with a given
    vector.
    Raises: ConfigError as `require_movable`, and for an encoder of sparse vectors.
    """
    import torch

    require_movable(config, data)
    encoder = model.encoder
    texts_LD = concatenate_rows(list(chunks), dimension=encoder.dimension)
    if texts_LD.layout == torch.sparse_csr:
        raise ConfigError("[labels] query_weight needs dense vectors; those of this encoder are sparse.")
    rows_of_data_L, given = same_labels(data.labels, labels), edits.own
    rows_of_data_L[[label_id in given for label_id in data.labels.ids]] = -1
    features = encoder.prepare(data.train.texts, "query") if train_features is None else train_features
    positives = among(data.train.positives, rows_of_data_L)
    queries = embed_chunks(encoder, features, "query")
    movable = movable_labels(texts_LD.cpu(), queries, positives, similarity=encoder.similarity)
    weight, ndcg_of = config.labels.query_weight, dict[float, float]()
    if weight == "auto":
        held_out = validation_queries(data, config)
        assert held_out is not None  # see require_movable
        queries_QD = embed_texts(encoder, held_out.texts, "query").cpu()
        weight, ndcg_of = choose_query_weight(movable, queries_QD, among(held_out.positives, rows_of_data_L))
    means = _means(labels, movable, weight) if weight else None
    parts = iter(texts_LD.split(LABELS_AT_ONCE))
    facts = {"query_weight": weight, "ndcg_of": {f"{weight:g}": ndcg for weight, ndcg in ndcg_of.items()}}
    return MovedLabels(means.over(labels, parts) if means else parts, means, facts)


def _means(labels: LabelTable, movable: MovableLabels, weight: float) -> LabelMeans:
    """Those with a training query. In parts, since everything that is as large as all vectors counts here."""
    rows_N = np.flatnonzero(movable.counts_L.numpy())
    vectors_ND = movable.texts_LD.new_empty(len(rows_N), movable.texts_LD.shape[1])
    for places in chunks_of(len(rows_N), LABELS_AT_ONCE):
        vectors_ND[places] = movable.moved(weight, rows_N[places])
    return LabelMeans(labels, rows_N, vectors_ND)
