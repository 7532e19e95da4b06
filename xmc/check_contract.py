"""What a check of a finished run is given and what it answers; plugins see these through `xmc.api`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from xmc.values import Hit, Hits, IndexReport, Positives

Better = Literal["lower", "higher", "neither"]


class CheckLabels(Protocol):
    """The L labels in the order of the index: label row i has `ids[i]` and `texts[i]`."""

    @property
    def ids(self) -> list[str]:
        """Label ids."""

    @property
    def texts(self) -> list[str]:
        """Label texts."""

    def __len__(self) -> int:
        """Number of labels."""


class CheckQueries(Protocol):
    """Held-out queries; `positives` are rows of the index."""

    @property
    def ids(self) -> list[str]:
        """Query ids."""

    @property
    def texts(self) -> list[str]:
        """Query texts."""

    @property
    def positives(self) -> Positives:
        """The relevant label rows of each query, at least one."""

    def __len__(self) -> int:
        """Number of queries."""

    def take(self, rows: np.ndarray[Any, Any]) -> CheckQueries:
        """The given queries, in the given order."""


class CheckRetriever(Protocol):
    """The run under check, opened: `xmc.Retriever` is one."""

    @property
    def encoder(self) -> Any:
        """The trained encoder."""

    @property
    def model(self) -> Any:
        """Encoder and head; `model.label_vectors(labels)` answers what the index is built of, and its query map."""

    @property
    def index(self) -> Any:
        """The index over the labels."""

    @property
    def labels(self) -> CheckLabels:
        """The labels in the order of the index."""

    @property
    def report(self) -> IndexReport:
        """What the index is."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Query embeddings (Q, D)."""

    def search_embeddings(self, queries_QD: Tensor, *, k: int = 10) -> Hits:
        """The best k label rows of each query embedding, by the first stage alone."""

    def hits(self, texts: Sequence[str], *, k: int = 10) -> Hits:
        """The best k label rows of each text, after the second stage where there is one."""

    def search(self, texts: Sequence[str], *, k: int = 10) -> list[list[Hit]]:
        """The best k labels of each text, by name."""


class SearchQueries(Protocol):
    """Searches held-out queries a chunk at a time and shows progress."""

    def __call__(self, queries: CheckQueries, /, *, k: int) -> Hits:
        """The best k label rows of each query, fewer where there are fewer."""


class NewVersion(Protocol):
    """Opens an empty folder to fill with what a check has fitted; it is committed when the block ends well."""

    def __call__(self, kind: str, /, *, facts: dict[str, Any] | None = None) -> AbstractContextManager[Path]:
        """The folder of a new version of the artefact `kind` of this check; `facts` (JSON) go into its manifest."""


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class CheckContext:
    """What a check works with. It reads this and its own options and nothing else, so that it can be repeated.

    `queries` are judged; `fit_queries` are others, held out as well, to fit something with; neither was trained on.
    `train_counts_L` says of how many of the `train_queries` each label row is a positive. `search` searches queries a
    chunk at a time. `new_version(kind)` is the only way to keep a fitted thing, and `model`, the SHA-256 of encoder and
    index, belongs into its facts; pictures and tables go into the result.
    """

    run: Path
    retriever: CheckRetriever
    queries: CheckQueries
    fit_queries: CheckQueries
    train_counts_L: np.ndarray[Any, Any]
    train_queries: int
    search: SearchQueries
    new_version: NewVersion
    model: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    seed: int = 0
    progress: Callable[[int, int], None] = no_progress
    source: str = ""  # which queries these are, in words


@dataclass(frozen=True)
class CheckFigure:
    """One finite number with the ends of its 95 % interval, None when it has none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    `figures` have the names that the check's `figures()` announced, or fewer where something could not be measured.
    `tables` map a name to columns of equal length, written as Parquet. `pictures` map a name to a
    `matplotlib.figure.Figure`, written as PNG and SVG. `notes` are sentences for the reader.
    """

    figures: Mapping[str, CheckFigure]
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@runtime_checkable
class Check(Protocol):
    """A check: a frozen dataclass whose fields are its options, the target of a CheckSpec."""

    def figures(self) -> Mapping[str, Better]:
        """The names of the figures it reports (lower-case words joined by `_`) and which way is better.

        A limit of the configuration may name those that are `lower` or `higher`; it is checked before anything runs.
        """

    def run(self, context: CheckContext) -> CheckResult:
        """Measure. Raises: XmcError where the run or its data do not allow it, saying what to do instead."""
