"""What a reranker is: a second model that scores the shortlist of the first again, from the query's text.

Shapes: Q queries, L labels, H hits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from xmc.values import Hits, Positives


@dataclass(frozen=True)
class RerankQueries:
    """Queries as a second stage sees them: their texts, and the features that the first stage's encoder made of them.

    What the features are depends on the encoder; those of `tfidf`, `sparse-tfidf` and `static` are bags, with
    `offsets` (Q + 1,), `ids` and `weights`, so that a model over words need not read the texts again.
    """

    texts: Sequence[str]
    features: Any

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class RerankContext:
    """What a reranker is fitted to; label rows are those of the index."""

    queries: RerankQueries
    positives: Positives
    find_shortlist: Callable[[], Hits]
    label_texts: Sequence[str]
    seed: int = 0

    @cached_property
    def shortlist(self) -> Hits:
        """The first model's best labels of each training query, relevant and others; searched for when asked for."""
        return self.find_shortlist()


@runtime_checkable
class Reranker(Protocol):
    """A fitted reranker: immutable, safe to use from several threads."""

    def scores(self, queries: RerankQueries, hits: Hits) -> np.ndarray[Any, Any]:
        """The score of every hit, (H,) float32, finite; a hit's score does not depend on the other hits."""

    def save(self, folder: Path) -> None:
        """Write the reranker into an empty folder that the caller commits."""


@runtime_checkable
class TextReranker(Reranker, Protocol):
    """A reranker that knows a label by its text, and so also one that was added or replaced since it was fitted."""

    def for_labels(self, fitted_rows_L: np.ndarray[Any, Any], label_texts: Sequence[str]) -> Reranker:
        """The same over these labels; `fitted_rows_L` has for each the row that it had in the fit, -1 for a new one."""


@runtime_checkable
class RerankerOptions(Protocol):
    """The options of a reranker plugin: a frozen dataclass that fits a new one or loads a saved one."""

    def fit(self, context: RerankContext, *, progress: Callable[[int, int], None]) -> Reranker:
        """A reranker fitted to training queries; `progress(done, all)` is called now and then."""

    def load(self, folder: Path) -> Reranker:
        """Open what `save` wrote; the folder's checksums are already verified."""
