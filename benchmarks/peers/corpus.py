"""What the scripts of the peers share: an imported data set as texts and label matrix, TF-IDF, and ranked answers.

Runs in a peer's own environment: it imports neither xmc nor torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp

TOP_K = 100
FEATURES: dict[str, dict[str, Any]] = {"words": {}, "characters": {"analyzer": "char_wb", "ngram_range": (2, 5)}}


@dataclass(frozen=True)
class Split:
    """The queries of a split that have text and positives, as xmc reads them; `positives_QL` is CSR over all labels."""

    ids: list[str]
    texts: list[str]
    positives_QL: sp.csr_matrix


def read_split(data: Path, split: str) -> Split:
    """Read one split of a data set that `xmc import` wrote."""
    labels = pq.read_metadata(data / "labels.parquet").num_rows
    table = pq.read_table(data / f"{split}.parquet")
    ids, texts = table.column("query_id").to_pylist(), table.column("text").to_pylist()
    positives = table.column("positives").combine_chunks()
    offsets = np.concatenate(([0], np.cumsum(positives.value_lengths().to_numpy(zero_copy_only=False))))
    rows = positives.flatten().to_numpy(zero_copy_only=False)
    matrix_QL = sp.csr_matrix((np.ones(len(rows), np.float32), rows, offsets), shape=(len(ids), labels))
    matrix_QL.sum_duplicates()
    matrix_QL.data[:] = 1.0
    kept = [q for q, text in enumerate(texts) if (text or "").strip() and matrix_QL.indptr[q] < matrix_QL.indptr[q + 1]]
    return Split([ids[q] for q in kept], [texts[q] for q in kept], matrix_QL[kept])


def seen_labels(positives_QL: sp.csr_matrix) -> np.ndarray:
    """The rows of the labels that have a training query; a peer learns and answers those alone."""
    return np.unique(positives_QL.indices)


def fitted_tfidf(texts: Sequence[str], folder: Path, features: str = "words") -> Any:
    """scikit-learn's TF-IDF (sublinear, in at least 2 texts, L2), saved into `folder`.

    `features`: a key of `FEATURES`: single words, or runs of 2 to 5 characters within a word and its borders.
    """
    vectorizer = _tfidf(features)
    vectorizer.fit(texts)
    words = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get)
    saved = {"features": features, "words": words}
    (folder / "words.json").write_text(json.dumps(saved, ensure_ascii=False), encoding="utf-8")
    np.save(folder / "idf.npy", vectorizer.idf_.astype(np.float32))
    return vectorizer


def saved_tfidf(folder: Path) -> Any:
    """The TF-IDF that `fitted_tfidf` saved."""
    saved = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    vectorizer = _tfidf(saved["features"], vocabulary={word: column for column, word in enumerate(saved["words"])})
    vectorizer.idf_ = np.load(folder / "idf.npy")
    return vectorizer


def _tfidf(features: str, **options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32, **FEATURES[features], **options)


class Stages:
    """Wall and processor seconds of the stages of a script, for its report."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = (time.perf_counter(), time.process_time())

    def done(self, name: str) -> None:
        """The time since the last call belongs to the stage `name`."""
        now = (time.perf_counter(), time.process_time())
        self.seconds[f"{name}_wall_s"] = now[0] - self._last[0]
        self.seconds[f"{name}_processor_s"] = now[1] - self._last[1]
        self._last = now


def write_report(path: Path, *, versions: Sequence[str], **facts: Any) -> None:
    """A JSON report: the facts, and the versions of the named distributions."""
    found = {name: metadata.version(name) for name in versions}
    path.write_text(json.dumps({**facts, "versions": found}, indent=1), encoding="utf-8")


def write_answers(path: Path, split: Split, answers: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Ranked answers, (label rows, scores) of each query, best first: as ragged arrays in an .npz."""
    offsets = np.concatenate(([0], np.cumsum([len(rows) for rows, _ in answers]))).astype(np.int64)
    np.savez(
        path,
        query_ids=np.array(split.ids),
        offsets=offsets,
        label_rows=np.concatenate([rows for rows, _ in answers]).astype(np.int64),
        scores=np.concatenate([scores for _, scores in answers]).astype(np.float32),
    )


def ranked(scores_QL: sp.csr_matrix, labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The answers of a sparse matrix of scores, best first; column c is label row `labels[c]`."""
    answers = []
    for start, stop in zip(scores_QL.indptr[:-1], scores_QL.indptr[1:], strict=True):
        columns, scores = scores_QL.indices[start:stop], scores_QL.data[start:stop]
        order = np.lexsort((columns, -scores))
        answers.append((labels[columns[order]], scores[order]))
    return answers
