"""Vectors for checking an index, and the brute-force search it is compared with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xmc.values import Hits

LABELS, QUERIES, DIMENSION, K = 300, 9, 24, 10
MANY = 1100  # labels: more than a block of most backends


def label_vectors() -> Tensor:
    """300 label vectors, clustered, of different norms, every one of the last 60 a copy of an earlier one."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(20, DIMENSION, generator=generator)
    vectors_LD = centres.repeat(LABELS // 20, 1) + 0.3 * torch.randn(LABELS, DIMENSION, generator=generator)
    vectors_LD[-60:] = vectors_LD[:60]
    return vectors_LD


def label_chunks() -> list[Tensor]:
    """The same as a stream: uneven chunks, one of them empty."""
    vectors_LD = label_vectors()
    return [vectors_LD[:7], vectors_LD[7:7], vectors_LD[7:200], vectors_LD[200:]]


def many_vectors() -> Tensor:
    """1,100 label vectors, all of them different and of one length."""
    generator = torch.Generator().manual_seed(3)
    return torch.nn.functional.normalize(torch.randn(MANY, DIMENSION, generator=generator), dim=1)


def query_vectors() -> Tensor:
    """Nine queries near labels."""
    generator = torch.Generator().manual_seed(2)
    return label_vectors()[:QUERIES] * 0.7 + 0.3 * torch.randn(QUERIES, DIMENSION, generator=generator)


def oracle(labels_LD: Tensor, queries_QD: Tensor, k: int, *, similarity: str) -> Hits:
    """The true top k by loops: float64 sums over float32 vectors, scores rounded to float32, ties to the lower row."""
    labels, queries = _wide(labels_LD, similarity), _wide(queries_QD, similarity)
    rows, scores = [], []
    for query_D in queries:
        scores_L = np.array([np.sum(query_D * label_D) for label_D in labels]).astype(np.float32)
        best = sorted(range(len(labels)), key=lambda row: (-scores_L[row], row))[:k]
        rows.append(best)
        scores.append(scores_L[best])
    offsets = np.cumsum([0, *(len(best) for best in rows)])
    return Hits(offsets, np.array(rows, dtype=np.int64).ravel(), np.concatenate(scores))


def _wide(vectors_ND: Tensor, similarity: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Float64 rows; for cosine, divided by their norm and rounded to float32, as an index stores them."""
    wide = vectors_ND.numpy().astype(np.float64)
    if similarity == "dot":
        return wide
    return (wide / np.sqrt((wide * wide).sum(1, keepdims=True))).astype(np.float32).astype(np.float64)


def recall(hits: Hits, expected: Hits) -> float:
    """The share of the expected hits that was found; a copy of a label counts as that label.

    Scores of copies are equal, so hits are counted by score: found when it reaches the expected k-th score.
    """
    found = wanted = 0
    for (_, scores), (_, expected_scores) in zip(hits, expected, strict=True):
        found += int((scores >= expected_scores[-1] - 1e-4).sum())
        wanted += len(expected_scores)
    return found / wanted
