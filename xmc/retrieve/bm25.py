"""The reranker `bm25`: how well the words of a label's text are those of the query. It learns nothing but frequencies.

A dual encoder finds passages that mean what the query means, and knows no rare word, name or number that training did
not show it; BM25 knows nothing else. Both together are better than either where labels are passages.

Shapes: L labels, W words, Q queries, H hits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from xmc.api import Hits, RerankContext, RerankQueries, require_at_least, require_share
from xmc.encode.words import KnownWords, NewWords, NumberedWords, number_words
from xmc.ragged import kept_offsets, offsets_of

TABLE_FILE = "bm25.safetensors"
WORDS_FILE = "words.json"
NUMBERS_AT_ONCE = 1 << 22  # words of labels that are looked at together

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bm25:
    """Sums, over the words of a query, how rare a word is times how much of the label's text it makes up.

    `sum of idf(w) x tf x (k1 + 1) / (tf + k1 x (1 - b + b x length / mean length))` with `tf` occurrences of w in the
    label's text, and `idf(w) = ln(1 + (L - n + 1/2) / (n + 1/2))` where n of the L labels have w. `k1`: how slowly
    further occurrences count less; `b`: how far long texts are held against a label, 0 to 1. Words are runs of letters
    and digits in lower case. A label that is added later is scored as any other, with the frequencies of the fit: the
    words that no label had then are not known.

    Raises: ValueError for an option that cannot work.
    Reference: Robertson, Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond, with the idf of Lucene.

    >>> from xmc.values import Positives
    >>> positives = Positives(np.array([0]), np.array([], np.int64), np.array([]))
    >>> context = RerankContext(RerankQueries([], None), positives, lambda: None, ["red fish", "blue fish"])
    >>> bm25 = Bm25().fit(context, progress=lambda done, of: None)
    >>> hits = Hits(np.array([0, 2]), np.array([0, 1]), np.zeros(2, np.float32))
    >>> bm25.scores(RerankQueries(["a red fish"], None), hits).round(3)
    array([0.875, 0.182], dtype=float32)
    """

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(0, self, "k1")
        require_share(self, "b")

    def fit(self, context: RerankContext, *, progress: Callable[[int, int], None]) -> FittedBm25:
        """Count the words of the labels' texts; training queries are not looked at."""
        numbers = NewWords()
        counts_LW, lengths_L = _counts(context.label_texts, numbers, words=None)
        progress(1, 1)
        labels_W = np.bincount(counts_LW.indices, minlength=len(numbers))
        idf_W = np.log1p((counts_LW.shape[0] - labels_W + 0.5) / (labels_W + 0.5)).astype(np.float32)
        fitted = FittedBm25(self, KnownWords(numbers), idf_W, float(lengths_L.mean()) or 1.0, counts_LW)
        return replace(fitted, weights_LW=fitted.weighted(counts_LW, lengths_L))

    def load(self, folder: Path) -> FittedBm25:
        """Open what `FittedBm25.save` wrote."""
        from safetensors.numpy import load_file

        table = load_file(folder / TABLE_FILE)
        words = json.loads((folder / WORDS_FILE).read_bytes())
        parts = (table["weights"], table["words"], table["offsets"])
        weights_LW = scipy.sparse.csr_matrix(parts, shape=(len(table["offsets"]) - 1, len(words)))
        numbers = KnownWords(zip(words, range(len(words)), strict=True))
        return FittedBm25(self, numbers, table["idf"], float(table["mean_length"]), weights_LW)


@dataclass(frozen=True, eq=False)
class FittedBm25:
    """Of each word its number and idf, and of each label what its words count, without the idf."""

    options: Bm25
    numbers: Mapping[str, int]
    idf_W: Array
    mean_length: float
    weights_LW: Any

    def scores(self, queries: RerankQueries, hits: Hits) -> Array:
        """BM25 of each hit, (H,) float32; naive: `(idf x query's counts) @ label's weights`."""
        counts_QW, _ = _counts(queries.texts, self.numbers, words=len(self.idf_W))
        counts_QW.data *= self.idf_W[counts_QW.indices]
        query_rows_H, scores_H = hits.query_rows(), np.zeros(len(hits.label_rows), np.float32)
        for some in _parts(np.diff(self.weights_LW.indptr)[hits.label_rows]):
            pairs = self.weights_LW[hits.label_rows[some]].multiply(counts_QW[query_rows_H[some]])
            scores_H[some] = np.asarray(pairs.sum(axis=1)).ravel()
        return scores_H

    def for_labels(self, fitted_rows_L: Array, label_texts: Sequence[str]) -> FittedBm25:
        """The same over other labels: those of a row of the fit, or of row -1 and known by their text alone."""
        new = np.flatnonzero(fitted_rows_L < 0)
        texts = [label_texts[row] for row in new.tolist()]
        weights_NW = self.weighted(*_counts(texts, self.numbers, words=len(self.idf_W)))
        places_L = fitted_rows_L.copy()
        places_L[new] = self.weights_LW.shape[0] + np.arange(len(new))
        return replace(self, weights_LW=scipy.sparse.vstack([self.weights_LW, weights_NW], format="csr")[places_L])

    def weighted(self, counts_LW: Any, lengths_L: Array) -> Any:
        """What the occurrences of words in texts of these lengths count."""
        k1, b = self.options.k1, self.options.b
        saturation_L = (k1 * (1 - b + b * lengths_L / self.mean_length)).astype(np.float32)
        weights_LW, counts = counts_LW.copy(), counts_LW.data
        weights_LW.data = counts * np.float32(k1 + 1) / (counts + np.repeat(saturation_L, np.diff(counts_LW.indptr)))
        return weights_LW

    def save(self, folder: Path) -> None:
        """Write words, frequencies and weights."""
        from safetensors.numpy import save_file

        table = {
            "weights": self.weights_LW.data,
            "words": self.weights_LW.indices.astype(np.int32),
            "offsets": self.weights_LW.indptr.astype(np.int64),
            "idf": self.idf_W,
            "mean_length": np.array(self.mean_length),
        }
        save_file(table, folder / TABLE_FILE)
        (folder / WORDS_FILE).write_text(json.dumps(list(self.numbers)), encoding="utf-8")


def _counts(texts: Sequence[str], numbers: Mapping[str, int], *, words: int | None) -> tuple[Any, Array]:
    """How often each text has each known word, CSR float32 (N, W), and how many words it has; `words` None: all new."""
    pieces = [NumberedWords(offsets_of(np.zeros(0, np.int64)), np.zeros(0, np.int32)), *number_words(texts, numbers)]
    lengths_N = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    numbers_T = np.concatenate([piece.numbers for piece in pieces])
    known_T = numbers_T >= 0
    offsets, columns = kept_offsets(offsets_of(lengths_N), known_T), numbers_T[known_T]
    shape = (len(texts), len(numbers) if words is None else words)
    counts_NW = scipy.sparse.csr_matrix((np.ones(len(columns), np.float32), columns, offsets), shape=shape)
    counts_NW.sum_duplicates()
    return counts_NW, lengths_N


def _parts(lengths_H: Array) -> Iterator[slice]:
    """Slices of the hits, in order, whose labels have about `NUMBERS_AT_ONCE` words."""
    ends_H = np.cumsum(lengths_H)
    start = 0
    while start < len(ends_H):
        before = ends_H[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends_H, before + NUMBERS_AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop
