"""Vectors like those of an index: around centres, unit length, with copies; and the true answers, by brute force."""

from dataclasses import replace

import numpy as np
import torch


def clustered(labels, queries, dimension=24, *, seed=0, spread=0.5):
    """(labels_LD, queries_QD), about 30 labels a centre."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(1, labels // 30), dimension, generator=generator)
    chosen = torch.randint(len(centres), (labels + queries,), generator=generator)
    vectors = centres[chosen] + spread * torch.randn(labels + queries, dimension, generator=generator)
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    return vectors[:labels], vectors[labels:]


def brute_force(labels_LD, queries_QD, k, rows=None):
    """Label rows of the true top k of each query, among all or among `rows`, ties to the lower row."""
    rows = np.arange(len(labels_LD)) if rows is None else rows
    labels = labels_LD.double().numpy()[rows]
    answers = []
    for query_D in queries_QD.double().numpy():
        scores = (labels @ query_D).astype(np.float32)
        answers.append(rows[np.lexsort((rows, -scores))[:k]].tolist())
    return answers


def rows_of(hits):
    return [label_rows.tolist() for label_rows, _ in hits]


def recall(hits, expected):
    """Share of the expected label rows that were found."""
    found = sum(len(set(rows) & set(wanted)) for rows, wanted in zip(rows_of(hits), expected, strict=True))
    return found / sum(map(len, expected))


def gpus():
    """How many GPUs the installed faiss can use."""
    try:
        import faiss
    except ImportError:
        return 0
    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0


def require_scored_alike(index, queries_QD, k):
    """Candidates that a GPU finds get the same scores from its vectors and from those of the host."""
    by_host = replace(index, gpu=replace(index.gpu, vectors=None))
    assert index.gpu.vectors is not None
    hits, expected = index.search(queries_QD, k), by_host.search(queries_QD, k)
    assert rows_of(hits) == rows_of(expected) and hits.scores.tobytes() == expected.scores.tobytes()
