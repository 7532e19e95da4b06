"""The only module a plugin imports: specs, values, errors and the hook marker.

Promise within `API_VERSION` 1: specs only gain fields with defaults, hooks only gain parameters, nothing is renamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pluggy

from xmc.check_contract import Check, CheckContext, CheckFigure, CheckResult
from xmc.errors import ArtifactError, ConfigError, DataError, DeviceError, NonFiniteError, PluginError, XmcError
from xmc.heads import (
    FittedHead,
    Head,
    HeadBatch,
    HeadContext,
    HeadOptions,
    Learned,
    QueryMap,
    WholeHeadOptions,
)
from xmc.loss_inputs import LossInputs
from xmc.ranking import rank_hits
from xmc.rerankers import RerankContext, Reranker, RerankerOptions, RerankQueries
from xmc.specs import (
    CheckSpec,
    EncoderSpec,
    HeadSpec,
    IndexSpec,
    LossSpec,
    MetricSpec,
    RecipeSpec,
    RerankerSpec,
)
from xmc.values import Hits, IndexReport, Positives, RunInfo
from xmc.vectors import validate_k, validate_similarity, validate_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

API_VERSION = 1

hookimpl = pluggy.HookimplMarker("xmc")


@runtime_checkable
class Loss(Protocol):
    """A loss: a frozen dataclass whose fields are its options; called with scores, answers one value per query (Q,)."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, not reduced; 0 for a query without positives."""


@runtime_checkable
class RowStateLoss(Loss, Protocol):
    """A loss that keeps one number for each training query from one visit to the next, such as its own temperature.

    At a visit the engine asks for `next_row_state`, with the old number in `inputs.row_state_Q` (at the first visit
    `row_state_start`), then calls the loss with the new one there, as a constant; it is kept if the step is sound, and
    with the checkpoint. Where nothing is kept (`row_state_Q` is None) the loss takes its start value.
    """

    @property
    def row_state_start(self) -> float:
        """The number of a query that was never visited."""

    def next_row_state(self, inputs: LossInputs) -> Tensor:
        """The number of each query after this visit, (Q,), without gradient."""


@runtime_checkable
class Index(Protocol):
    """A built index: immutable, safe to search from several threads."""

    @property
    def report(self) -> IndexReport:
        """What was built, how large it is and how long it took."""

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The best k labels of each query, fewer when there are fewer; score descending, then label row ascending."""

    def save(self, folder: Path) -> None:
        """Write the index into an empty folder that the caller commits."""


@runtime_checkable
class IndexBackend(Protocol):
    """Builds and loads one kind of index: a frozen dataclass whose fields are its options."""

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> Index:
        """Stream chunks of label embeddings (n, D), in row order, into an index; `similarity` is `dot` or `cosine`."""

    def load(self, folder: Path, *, device: str) -> Index:
        """Open what `save` wrote; the folder's checksums are already verified."""


__all__ = [
    "API_VERSION",
    "ArtifactError",
    "Check",
    "CheckContext",
    "CheckFigure",
    "CheckResult",
    "CheckSpec",
    "ConfigError",
    "DataError",
    "DeviceError",
    "EncoderSpec",
    "FittedHead",
    "Head",
    "HeadBatch",
    "HeadContext",
    "HeadOptions",
    "HeadSpec",
    "Hits",
    "Index",
    "IndexBackend",
    "IndexReport",
    "IndexSpec",
    "Learned",
    "Loss",
    "LossInputs",
    "LossSpec",
    "MetricSpec",
    "NonFiniteError",
    "PluginError",
    "Positives",
    "QueryMap",
    "RecipeSpec",
    "RerankContext",
    "RerankQueries",
    "Reranker",
    "RerankerOptions",
    "RerankerSpec",
    "RowStateLoss",
    "RunInfo",
    "WholeHeadOptions",
    "XmcError",
    "hookimpl",
    "rank_hits",
    "validate_k",
    "validate_similarity",
    "validate_vectors",
]
