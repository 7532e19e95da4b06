"""A backend whose recall and speed are known: with effort n it finds the labels of the first n of 64 classes.

Its time is that of a clock of its own, so that what is chosen does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import DeviceError, IndexReport
from xmc.ranking import rank_hits
from xmc.tune.candidates import Candidate
from xmc.tune.label_vectors import LabelVectors
from xmc.values import Hits

CLASSES = 64


class Clock:
    """Seconds that pass only when an index works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


@dataclass(frozen=True)
class Graded:
    """`ladder` are the efforts offered, `query_s` the time of a query at effort 1, growing linearly."""

    effort: int = 1
    ladder: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    query_s: float = 1e-5
    held_bytes: int = 1000
    says_bytes: int = 1000
    mode: str = ""
    refuses: bool = False

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Graded]:
        return [cls()]

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        return self.says_bytes

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> GradedIndex:
        if self.refuses:
            raise DeviceError("device 'moon' was asked for.")
        labels_LD = torch.cat(list(embeddings))
        if similarity == "cosine":
            labels_LD = torch.nn.functional.normalize(labels_LD, dim=1)
        return GradedIndex(self, labels_LD, similarity)

    def load(self, folder: Path, *, device: str) -> GradedIndex:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class GradedIndex:
    backend: Graded
    labels_LD: Tensor
    similarity: str

    @property
    def report(self) -> IndexReport:
        count, width = self.labels_LD.shape
        held = self.backend.held_bytes
        return IndexReport("graded", self.similarity, count, width, "cpu", held, 0.5, False, asdict(self.backend), {})

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        CLOCK.now += len(queries_QD) * self.backend.query_s * self.backend.effort
        rows_F = torch.from_numpy(np.flatnonzero(np.arange(len(self.labels_LD)) * 37 % CLASSES < self.backend.effort))
        best = (queries_QD @ self.labels_LD[rows_F].T).topk(min(k, len(rows_F)), dim=1)
        query_rows = np.repeat(np.arange(len(queries_QD)), best.values.shape[1])
        label_rows, scores = rows_F[best.indices].numpy().ravel(), best.values.numpy().ravel()
        return rank_hits(query_rows, label_rows, scores, queries=len(queries_QD), k=k)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def search_ladder(self) -> Sequence[Mapping[str, Any]]:
        more = {"mode": "b"} if self.backend.mode else {}
        return [{"effort": effort, **more} for effort in self.backend.ladder]

    def with_search_options(self, options: Mapping[str, Any]) -> GradedIndex:
        return GradedIndex(replace(self.backend, **options), self.labels_LD, self.similarity)


class Whole(Graded):
    """The same, and all it offers is everything: what an exact backend does."""

    def build(self, embeddings, *, similarity, device):
        index = super().build(embeddings, similarity=similarity, device=device)
        return WholeIndex(replace(self, effort=CLASSES), index.labels_LD, similarity)


class WholeIndex:
    """An index without a ladder."""

    def __init__(self, backend: Graded, labels_LD: Tensor, similarity: str) -> None:
        self._index = GradedIndex(backend, labels_LD, similarity)
        self.report = replace(self._index.report, backend="whole", exact=True)

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        return self._index.search(queries_QD, k)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def candidate(backend: Graded, name: str = "") -> Candidate:
    """A candidate as `find_candidates` makes it."""
    exact = isinstance(backend, Whole)
    return Candidate(name or ("whole" if exact else "graded"), backend, backend.says_bytes, exact)


def vectors(labels: int = 1280, queries: int = 600, dimension: int = 8) -> tuple[LabelVectors, Tensor]:
    """Labels and queries of the same kind."""
    generator = torch.Generator().manual_seed(5)
    labels_LD = torch.randn(labels, dimension, generator=generator)
    return LabelVectors(labels_LD.numpy(), "cosine"), torch.randn(queries, dimension, generator=generator)
