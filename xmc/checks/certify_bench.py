"""What every part of `xmc check certify` works with: the sampled queries, their first labels, and ways to rank texts.

Shapes: Q queries, T radii, N values of k, L labels, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xmc.check_contract import CheckQueries, CheckRetriever
from xmc.checks.additive import AdditiveTexts, additive_texts
from xmc.checks.label_matrix import LabelMatrix
from xmc.checks.text_edits import Floats
from xmc.encode.encoder import Role, embed_texts
from xmc.errors import ConfigError
from xmc.fixed_order import normalise_rows
from xmc.retrieve.flat_scan import FlatScan
from xmc.substitutions.word_sets import Substitutions

ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Bench:
    """The run and the queries under attack. Labels are ranked by score among all labels, then by label row."""

    retriever: CheckRetriever
    queries: CheckQueries
    labels: LabelMatrix
    substitutions: Substitutions
    ks: tuple[int, ...]
    radii: tuple[int, ...]
    listed: int
    attacks: int
    greedy: int
    seed: int
    progress: Callable[[int, int], None]

    def embed(self, texts: Sequence[str], role: Role = "query") -> Tensor:
        """Embeddings as the retriever asks its index with them."""
        return embed_texts(self.retriever.encoder, texts, role)

    def vectors(self, texts: Sequence[str], role: Role = "query") -> Tensor:
        """Embeddings as an index compares them: those for cosine have length 1 there, even of the shortest text."""
        vectors_ND = self.embed(texts, role)
        return normalise_rows(vectors_ND) if self.retriever.encoder.similarity == "cosine" else vectors_ND

    @property
    def labels_from_text(self) -> bool:
        """Whether rewriting a label's text moves the label by nothing but the text's embedding."""
        model = getattr(self.retriever, "model", None)
        return bool(getattr(model, "labels_from_text", True)) and getattr(model, "means", None) is None

    def additive(self, role: Role) -> AdditiveTexts | None:
        """The additive form of a side, None for an encoder without one."""
        try:
            return additive_texts(self.retriever.encoder, role)
        except ConfigError:
            return None

    def rank(self, texts: Sequence[str], k: int) -> list[NDArray[np.int64]]:
        """The true first k label rows of each text."""
        search = self.retriever.search_embeddings if self.retriever.report.exact else self._scan.search
        found: list[NDArray[np.int64]] = []
        for start in range(0, len(texts), ROWS_AT_ONCE):
            hits = search(self.embed(texts[start : start + ROWS_AT_ONCE]), k=min(k, len(self.labels)))
            found += [label_rows for label_rows, _ in hits]
        return found

    @cached_property
    def _scan(self) -> FlatScan:
        """All labels, where the index is approximate: labels of one vector tie in it, as certificates take them to."""
        return FlatScan.of(self.labels.labels_LD, similarity="dot")

    def score(self, texts: Sequence[str], label_rows: Sequence[int]) -> Floats:
        """Scores of texts against some labels, (N, C)."""
        return np.asarray((self.embed(texts) @ self.labels.take(np.array(label_rows)).T).numpy())

    def precision(self, scores_QL: Tensor) -> Floats:
        """Precision at each k of a ranking by these scores, of equal ones the lower label row first, (Q, N)."""
        leading = [leading_rows(scores_L.numpy(), max(self.ks)) for scores_L in scores_QL]
        right_QK = np.stack(
            [np.isin(rows, positives) for rows, positives in zip(leading, self.positives(), strict=True)]
        )
        return np.stack([right_QK[:, :k].sum(axis=1) / k for k in self.ks], axis=1)

    def positives(self) -> list[NDArray[np.integer[Any]]]:
        """The relevant label rows of each query."""
        positives = self.queries.positives
        return [
            positives.label_rows[start:stop]
            for start, stop in zip(positives.offsets[:-1], positives.offsets[1:], strict=True)
        ]


@dataclass(eq=False)
class Side:
    """What is proved of one side and what was broken; `witnesses` are rows of the table that the report keeps.

    `fallen`: labels of which it is proved that they cannot leave a list, and that left it. `attacks`: how many texts
    were tried. `working`: share of the exact witnesses that change their list, None where there is none.
    """

    certified_QTN: NDArray[np.bool_]
    broken_QTN: NDArray[np.bool_]
    witnesses: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Floats] = field(default_factory=dict)  # figures by name, a value for each query
    fallen: int = 0
    attacks: int = 0
    working: float | None = None

    @property
    def violations(self) -> int:
        """Lists and labels that are certified and broken: a bug if there is one."""
        return int((self.certified_QTN & self.broken_QTN).sum()) + self.fallen


def leading_rows(scores_L: Floats, k: int) -> NDArray[np.int64]:
    """The rows of the k best scores, best first, of equal ones the lower row first.

    >>> leading_rows(np.array([1.0, 3.0, 1.0, 3.0]), 3).tolist()
    [1, 3, 0]
    """
    last = np.partition(scores_L, -k)[-k] if k < len(scores_L) else -np.inf
    rows = np.flatnonzero(scores_L >= last)
    return rows[np.argsort(-scores_L[rows], kind="stable")[:k]]


def radius_name(radius: int) -> str:
    """How a radius is written in a figure's name.

    >>> radius_name(3), radius_name(0)
    ('3', 'all')
    """
    return str(radius) if radius else "all"
