"""P@1 on held-out queries, exactly, in bounded memory: what early stopping and the best checkpoint go by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xmc.api import Head, PluginError, Positives, QueryMap
from xmc.counted import counted
from xmc.encode.encoder import Encoder, Features, embed_chunks
from xmc.train.distributed import Ranks
from xmc.train.scorer import rows_in_memory, score_rows

QUERIES_AT_ONCE = 1024


def precision_at_1(
    encoder: Encoder,
    head: Head,
    query_features: Features,
    positives: Positives,
    *,
    labels: int,
    score_memory_mb: int,
    ranks: Ranks,
) -> float:
    """The share of queries whose best-scored label is relevant, each counted by one of the ranks."""
    labels_LD = label_matrix(head, labels)
    own = np.arange(len(query_features))[ranks.share(len(query_features))]
    hits = hits_at_1(
        encoder,
        query_features.take(own),
        labels_LD,
        positives.take(own),
        query_map=head.query_map(),
        rows_at_once=rows_in_memory(labels, score_memory_mb, device=labels_LD.device.type),
    )
    return int(ranks.sum(torch.tensor(hits))) / len(query_features)


def hits_at_1(
    encoder: Encoder,
    query_features: Features,
    labels_LD: Tensor,
    positives: Positives,
    *,
    query_map: QueryMap | None = None,
    rows_at_once: int,
) -> int:
    """Number of queries whose best-scored label is relevant; a tie goes to the lowest label row."""
    if not len(query_features):
        return 0
    best = [
        _best_label(query_map.queries(queries_QD) if query_map else queries_QD, labels_LD, rows_at_once)
        for queries_QD in embed_chunks(encoder, query_features, "query", chunk_size=QUERIES_AT_ONCE)
    ]
    best_Q = torch.cat(best).numpy()
    return int(np.isin(np.arange(len(best_Q)) * len(labels_LD) + best_Q, positives.pair_keys(len(labels_LD))).sum())


@torch.no_grad()
def label_matrix(head: Head, labels: int) -> Tensor:
    """The vectors of all labels, (L, D); beside them there is never more than the chunk that comes.

    Raises: PluginError when the head does not give one vector for each label.
    """
    whole_LD, given = torch.empty(0), 0
    for chunk_ND in head.label_vectors(np.arange(labels)):
        if not given:
            whole_LD = chunk_ND if len(chunk_ND) == labels else chunk_ND.new_empty(labels, chunk_ND.shape[1])
        if whole_LD is not chunk_ND and given + len(chunk_ND) <= labels:
            whole_LD[given : given + len(chunk_ND)] = chunk_ND
        given += len(chunk_ND)
    if given != labels:
        raise PluginError(
            f"the head gives {counted(given, 'label vector')} for {counted(labels, 'label')}.",
            hint="label_vectors(label_rows) yields one row for each of label_rows, in their order.",
        )
    return whole_LD


def _best_label(queries_QD: Tensor, labels_LD: Tensor, rows_at_once: int) -> Tensor:
    scores_RL = queries_QD.new_empty(min(rows_at_once, len(queries_QD)), len(labels_LD))
    chunks = queries_QD.split(rows_at_once)
    return torch.cat(
        [score_rows(chunk, labels_LD, out=scores_RL[: len(chunk)]).argmax(dim=1) for chunk in chunks]
    ).cpu()
