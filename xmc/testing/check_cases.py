"""A small made-up run for checks: labels of three words, queries that share words with their positives."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import CheckContext, Hits, IndexReport, rank_hits, validate_k
from xmc.check_contract import CheckQueries
from xmc.data.tables import LabelTable, QueryTable
from xmc.ragged import offsets_of
from xmc.values import Hit, Positives

LABELS, QUERIES, WORDS, DIMENSION = 60, 150, 40, 16


@dataclass(frozen=True)
class ExampleIndex:
    """Scores every label; exact."""

    labels_LD: Tensor

    @property
    def report(self) -> IndexReport:
        """What it is."""
        rows, width = self.labels_LD.shape
        return IndexReport("example", "cosine", rows, width, "cpu", 4 * rows * width, 0.0, True, {}, {})

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The best k label rows."""
        validate_k(k)
        scores_QL = (queries_QD @ self.labels_LD.T).numpy()
        query_rows, label_rows = np.indices(scores_QL.shape).reshape(2, -1)
        return rank_hits(query_rows, label_rows, scores_QL.ravel(), queries=len(queries_QD), k=k)

    def save(self, folder: Path) -> None:
        """Write the label vectors."""
        np.save(folder / "labels.npy", self.labels_LD.numpy())


@dataclass(frozen=True)
class ExampleRetriever:
    """An opened run whose encoder adds up a fixed random vector for each word, to length 1."""

    labels: LabelTable
    encoder: Any = None

    @cached_property
    def index(self) -> ExampleIndex:
        """The index over the labels."""
        return ExampleIndex(self.encode(self.labels.texts))

    @property
    def model(self) -> ExampleRetriever:
        """Itself: `label_vectors` is there."""
        return self

    @property
    def report(self) -> IndexReport:
        """What the index is."""
        return self.index.report

    def label_vectors(self, labels: LabelTable) -> tuple[Iterator[Tensor], None]:
        """What the index is built of, in one chunk."""
        return iter([self.encode(labels.texts)]), None

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (N, D)."""
        vectors = [sum((_word_vector(word) for word in text.split()), torch.zeros(DIMENSION)) for text in texts]
        return torch.nn.functional.normalize(torch.stack(vectors), dim=1)

    def search_embeddings(self, queries_QD: Tensor, *, k: int = 10) -> Hits:
        """The best k label rows of each query embedding."""
        return self.index.search(queries_QD, k)

    def hits(self, texts: Sequence[str], *, k: int = 10) -> Hits:
        """The best k label rows of each text."""
        return self.search_embeddings(self.encode(texts), k=k)

    def search(self, texts: Sequence[str], *, k: int = 10) -> list[list[Hit]]:
        """The best k labels of each text, by name."""
        return [
            [
                Hit(rank, self.labels.ids[row], self.labels.texts[row], score)
                for rank, (row, score) in enumerate(zip(label_rows.tolist(), scores.tolist(), strict=True), start=1)
            ]
            for label_rows, scores in self.search_embeddings(self.encode(texts), k=k)
        ]


def _word_vector(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    return torch.randn(DIMENSION, generator=torch.Generator().manual_seed(seed))


@dataclass
class Recorder:
    """Remembers what a check tells the outside."""

    kinds: list[str] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)

    @contextlib.contextmanager
    def new_version(self, kind: str, *, facts: dict[str, Any] | None = None) -> Iterator[Path]:
        """A temporary folder, gone afterwards."""
        del facts
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        self.kinds.append(kind)

    def progress(self, done: int, total: int) -> None:
        """Remember."""
        self.steps.append((done, total))


def example_context(*, queries: int = QUERIES) -> CheckContext:
    """The context of the made-up run, the same at every call.

    >>> context = example_context(queries=5)
    >>> len(context.queries), len(context.fit_queries), len(context.search(context.queries, k=3))
    (5, 5, 5)
    """
    recorder = Recorder()
    generator = np.random.default_rng(0)
    words_L3 = np.array([generator.choice(WORDS, 3, replace=False) for _ in range(LABELS)])
    labels = LabelTable([f"L{row:02d}" for row in range(LABELS)], [_text(words) for words in words_L3])
    retriever = ExampleRetriever(labels)
    judged, fitted = (_queries(generator, words_L3, QUERIES, name) for name in ("t", "d"))

    def search(some: CheckQueries, *, k: int) -> Hits:
        return retriever.search_embeddings(retriever.encode(some.texts), k=k)

    return CheckContext(
        run=Path("example"),
        retriever=retriever,
        queries=judged.take(np.arange(queries)),
        fit_queries=fitted.take(np.arange(queries)),
        train_counts_L=np.arange(LABELS) % 7,
        train_queries=200,
        search=search,
        new_version=recorder.new_version,
        model={"encoder": "0", "index": "0"},
        progress=recorder.progress,
        source="an example",
    )


def _text(words: Any) -> str:
    return " ".join(f"w{word}" for word in words)


def _queries(generator: np.random.Generator, words_L3: np.ndarray[Any, Any], count: int, name: str) -> QueryTable:
    """Queries of two words of a positive label and a stray one; each third has a second positive."""
    texts, rows = [], []
    for query in range(count):
        positives = generator.choice(LABELS, 2 if query % 3 == 0 else 1, replace=False)
        kept = generator.choice(3, 2, replace=False)
        texts.append(_text([*words_L3[positives[0]][kept], generator.integers(WORDS)]))
        rows.append(np.sort(positives))
    offsets = offsets_of([len(each) for each in rows])
    label_rows = np.concatenate(rows).astype(np.int32)
    truth = Positives(offsets, label_rows, np.ones(len(label_rows), np.float32))
    return QueryTable([f"{name}{query}" for query in range(count)], texts, truth)
