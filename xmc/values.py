"""The frozen values that cross module borders: which labels are relevant, what an index answers.

Shapes: Q queries, L labels, D width, P (query, positive) pairs, K results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from xmc.ragged import rows_of, taken

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

FIGURES = ("score", "rank", "probability")


@dataclass(frozen=True)
class Positives:
    """The relevant label rows of Q queries, ragged: query i has `label_rows[offsets[i]:offsets[i + 1]]`.

    The same three arrays are a CSR matrix and an Arrow list column.
    Shapes: `offsets` (Q + 1,) int64 starting at 0; `label_rows` (P,) int32; `weights` (P,) float32 > 0.
    """

    offsets: np.ndarray[Any, Any]
    label_rows: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def counts(self) -> np.ndarray[Any, Any]:
        """Number of positives of each query, (Q,) int64."""
        import numpy as np

        return np.diff(self.offsets)

    def take(self, query_rows: np.ndarray[Any, Any]) -> Positives:
        """The positives of the given queries, in the given order."""
        offsets, source = taken(self.offsets, query_rows)
        return Positives(offsets, self.label_rows[source], self.weights[source])

    def query_rows(self) -> np.ndarray[Any, Any]:
        """For each of the P pairs the row of its query, (P,) int64."""
        return rows_of(self.offsets)

    def pair_keys(self, labels: int) -> np.ndarray[Any, Any]:
        """A number for each of the P pairs, `query row * labels + label row`, as in `Hits`, (P,) int64."""
        return self.query_rows() * labels + self.label_rows


@dataclass(frozen=True)
class Hits:
    """The answers to Q queries, ragged, best first; a query with fewer than k answers has a shorter list, never a -1.

    Order: score descending, then label row ascending (an index holds its labels sorted by `label_id`).
    Shapes: `offsets` (Q + 1,) int64; `label_rows` (H,) int64; `scores` (H,) float32.
    """

    offsets: np.ndarray[Any, Any]
    label_rows: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Yield (label_rows, scores) of each query."""
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.label_rows[start:stop], self.scores[start:stop]

    def take(self, query_rows: np.ndarray[Any, Any]) -> Hits:
        """The answers to the given queries, in the given order."""
        offsets, source = taken(self.offsets, query_rows)
        return Hits(offsets, self.label_rows[source], self.scores[source])

    def query_rows(self) -> np.ndarray[Any, Any]:
        """For each of the H hits the row of its query, (H,) int64."""
        return rows_of(self.offsets)

    def pair_keys(self, labels: int) -> np.ndarray[Any, Any]:
        """A number for each (query, label) pair among `labels` labels, equal for equal pairs only, (H,) int64.

        >>> import numpy as np
        >>> Hits(np.array([0, 2, 3]), np.array([4, 1, 4]), np.ones(3)).pair_keys(5).tolist()
        [4, 1, 9]
        """
        return self.query_rows() * labels + self.label_rows


class Hit(NamedTuple):
    """One answer: `rank` counts from 1, `score` is higher for better and may be negative.

    `probability` is that of being relevant, None until `xmc check calibrate` has been run.
    """

    rank: int
    label_id: str
    text: str
    score: float
    probability: float | None = None

    @property
    def shown_score(self) -> float:
        """The one number to show where there is room for one: the probability if there is one, else the score.

        >>> Hit(1, "a", "apple", 0.4, 0.9).shown_score, Hit(1, "a", "apple", 0.4).shown_score
        (0.9, 0.4)
        """
        return self.score if self.probability is None else self.probability


class Passage(NamedTuple):
    """A label with what is kept beside it; `hit` where it was found by a search."""

    id: str
    text: str
    metadata: dict[str, Any]
    hit: Hit | None = None

    def facts(self) -> dict[str, Any]:
        """The metadata with `score`, `rank` and `probability` of the hit, which stand above kept keys of these names.

        >>> Passage("a", "apple", {"page": 3}, Hit(1, "a", "apple", 0.5)).facts()
        {'page': 3, 'score': 0.5, 'rank': 1, 'probability': None}
        """
        return self.metadata | {name: getattr(self.hit, name) for name in FIGURES if self.hit}


@dataclass(frozen=True)
class IndexReport:
    """What an index backend did: enough to judge, repeat and size it.

    `options` are the backend's fields, `memory_bytes` what the index holds in memory, `build_s` wall seconds. `choice`
    is filled by the engine where the index was chosen by goal: what was asked and what was reached. `query_weight` is
    what a training query counts beside a label's text, where label vectors were moved so.
    """

    backend: str
    similarity: str
    labels: int
    dimension: int
    device_used: str
    memory_bytes: int
    build_s: float
    exact: bool
    options: dict[str, Any]
    versions: dict[str, str]
    choice: dict[str, Any] | None = None
    query_weight: float = 0.0


@dataclass(frozen=True)
class RunInfo:
    """A run as observers see it: its folder, its resolved configuration and its sizes. Plain data, not the trainer.

    While a new run is made that is to replace one, the folder is `.next` in that of the run.
    """

    folder: str
    config: dict[str, Any]
    queries: int = 0
    labels: int = 0
