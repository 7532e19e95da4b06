"""The pooled AUC of a run: scores of every positive, found or not, against the top negatives of every query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.encode.csr import concatenate_rows, scipy_rows, wide_unit_rows
from xmc.evaluate.auc import PooledAuc, pooled_auc
from xmc.evaluate.options import EvaluateOptions
from xmc.evaluate.roc import roc_curve, write_roc_picture, write_roc_table
from xmc.retrieve.query_checks import MAX_K
from xmc.retrieve.retriever import Retriever
from xmc.values import Hits, Positives

PAIRS_AT_ONCE = 2**16


def search_depth(options: EvaluateOptions, positives: Positives, *, shortlist: int) -> int:
    """How many hits of each query an evaluation needs.

    Enough for the ranking metrics; for the AUC enough for its negatives even if all positives rank above them, and the
    whole `shortlist` of a second stage (0: there is none), because `positive_scores` assumes that the second stage did
    not score a positive that is no hit.
    """
    if not options.auc_negatives:
        return max(options.ks)
    most_positives = int(positives.counts().max(initial=0))
    return max(*options.ks, min(max(options.auc_negatives + most_positives, shortlist), MAX_K))


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

    An index that compresses its vectors scores its hits a little differently than the embeddings do. With a second
    stage `hits` must hold its whole shortlist.
    """
    labels = len(retriever.labels)
    keys_P, keys_H = positives.pair_keys(labels), hits.pair_keys(labels)
    _, place_P, place_H = np.intersect1d(keys_P, keys_H, assume_unique=True, return_indices=True)
    scores_P = np.full(len(keys_P), np.nan, np.float32)
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
    query_texts = [texts[row] for row in queries.tolist()]
    prepared = retriever.prepare(query_texts)
    queries_QD = retriever.embed(prepared)
    chunks, query_map = retriever.model.label_vectors(retriever.labels.take(labels))
    labels_LD = concatenate_rows(chunks, dimension=retriever.report.dimension)
    offsets_Q = query_map.offsets(queries_QD) if query_map else torch.zeros(len(queries))
    if retriever.reranking:  # a label that was not found is none of the shortlist
        first = retriever.search_embeddings(queries_QD, k=min(retriever.reranking.depth, len(retriever.labels)))
        offsets_Q = offsets_Q + torch.from_numpy(retriever.reranking.shifts(prepared, first))
    queries_QD = query_map.queries(queries_QD) if query_map else queries_QD
    if retriever.report.similarity == "cosine":
        queries_QD, labels_LD = wide_unit_rows(queries_QD), wide_unit_rows(labels_LD)
    return (pair_products(queries_QD, labels_LD, query_M, label_M) + offsets_Q.numpy()[query_M]).astype(np.float32)


def pair_products(
    queries_QD: Tensor, labels_LD: Tensor, query_M: np.ndarray[Any, Any], label_M: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The dot product of each of M pairs of rows, (M,) float64; both matrices dense, or both sparse CSR.

    >>> pair_products(torch.eye(2), torch.tensor([[3.0, 4.0]]), np.array([1, 0]), np.array([0, 0])).tolist()
    [4.0, 3.0]
    """
    parts = [np.zeros(0)]
    for start in range(0, len(query_M), PAIRS_AT_ONCE):
        left, right = query_M[start : start + PAIRS_AT_ONCE], label_M[start : start + PAIRS_AT_ONCE]
        if queries_QD.layout == torch.sparse_csr:
            products = scipy_rows(queries_QD)[left].multiply(scipy_rows(labels_LD)[right]).sum(axis=1)
            parts.append(np.asarray(products).ravel())
        else:
            parts.append((queries_QD[left].double() * labels_LD[right].double()).sum(dim=1).cpu().numpy())
    return np.concatenate(parts)
