"""The pooled AUC of a run: scores of every positive, found or not, against the top negatives of every query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmc.evaluate.auc import PooledAuc, pooled_auc
from xmc.evaluate.options import EvaluateOptions
from xmc.evaluate.roc import roc_curve, write_roc_picture, write_roc_table
from xmc.retrieve.retriever import MAX_K, Retriever
from xmc.values import Hits, Positives

PAIRS_AT_ONCE = 2**16


def search_depth(options: EvaluateOptions, positives: Positives) -> int:
    """How many hits a query needs: for the ranking metrics, and for so many negatives if all positives stand above."""
    most_positives = int(positives.counts().max(initial=0))
    for_auc = options.auc_negatives + most_positives if options.auc_negatives else 0
    return max(*options.ks, min(for_auc, MAX_K))


def measure_separation(
    retriever: Retriever, texts: Sequence[str], hits: Hits, positives: Positives, *, top_negatives: int, run: Path
) -> PooledAuc:
    """The pooled AUC of the hits; writes `run/roc.csv` and `run/roc.png` unless one side is empty."""
    scores_P = positive_scores(retriever, texts, hits, positives)
    pooled = pooled_auc(hits, positives, scores_P, labels=len(retriever.labels), top_negatives=top_negatives)
    if pooled.auc.value is not None:
        curve = roc_curve(pooled.positive_scores_P, pooled.negative_scores_N)
        write_roc_table(run / "roc.csv", curve)
        write_roc_picture(run / "roc.png", curve, pooled.auc)
    return pooled.auc


def positive_scores(
    retriever: Retriever, texts: Sequence[str], hits: Hits, positives: Positives
) -> np.ndarray[Any, Any]:
    """The score of every (query, positive) pair, (P,) float32: that of the hit, or else from the two embeddings.

    An index that compresses its vectors scores its hits a little differently than the embeddings do.
    """
    labels = len(retriever.labels)
    hit_keys_H = np.repeat(np.arange(len(hits)), np.diff(hits.offsets)) * labels + hits.label_rows
    pair_keys_P = positives.query_rows() * labels + positives.label_rows
    _, place_P, place_H = np.intersect1d(pair_keys_P, hit_keys_H, assume_unique=True, return_indices=True)
    scores_P = np.full(len(pair_keys_P), np.nan, np.float32)
    scores_P[place_P] = hits.scores[place_H]
    missing = np.flatnonzero(np.isnan(scores_P))
    scores_P[missing] = _scores_of_pairs(
        retriever, texts, positives.query_rows()[missing], positives.label_rows[missing]
    )
    return scores_P


def _scores_of_pairs(
    retriever: Retriever, texts: Sequence[str], query_rows_M: np.ndarray[Any, Any], label_rows_M: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The scores of M pairs from embeddings of the queries and labels that occur in them, (M,) float32."""
    queries, query_M = np.unique(query_rows_M, return_inverse=True)
    labels, label_M = np.unique(label_rows_M, return_inverse=True)
    if len(queries) == 0:
        return np.zeros(0, np.float32)
    queries_QD = retriever.encode([texts[row] for row in queries.tolist()])
    chunks, query_map = retriever.model.label_vectors(retriever.labels.take(labels))
    labels_LD = torch.cat(list(chunks))
    offsets_Q = query_map.offsets(queries_QD) if query_map else queries_QD.new_zeros(len(queries_QD))
    queries_QD = query_map.queries(queries_QD) if query_map else queries_QD
    parts = []
    for start in range(0, len(query_M), PAIRS_AT_ONCE):
        pairs = slice(start, start + PAIRS_AT_ONCE)
        left_RD, right_RD = queries_QD[query_M[pairs]].double(), labels_LD[label_M[pairs]].double()
        if retriever.report.similarity == "cosine":
            left_RD, right_RD = (torch.nn.functional.normalize(each_RD, dim=1) for each_RD in (left_RD, right_RD))
        parts.append(((left_RD * right_RD).sum(dim=1) + offsets_Q[query_M[pairs]]).float())
    return torch.cat(parts).cpu().numpy()
