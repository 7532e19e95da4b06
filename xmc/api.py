"""The only module a plugin imports: specs, values, errors and the hook marker.

Promise within `API_VERSION` 1: specs only gain fields with defaults, hooks only gain parameters, nothing is renamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pluggy

from xmc.all_pairs import best_of_all, most_candidates
from xmc.augmentations import (
    AdditiveEncoder,
    Augmentation,
    AugmentationContext,
    AugmentationOptions,
    EpochModel,
)
from xmc.check_contract import Check, CheckContext, CheckFigure, CheckResult
from xmc.counted import counted
from xmc.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    DeviceError,
    NonFiniteError,
    PluginError,
    XmcError,
    XmcWarning,
)
from xmc.fixed_order import dot_pairs, normalise_rows, rounded_dots, rounded_pairs
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
from xmc.index_contract import (
    CertifyingIndex,
    CountedBackend,
    FilteredIndex,
    Index,
    IndexBackend,
    PlacedBackend,
    ProposingBackend,
    TunableIndex,
)
from xmc.loss_inputs import LossInputs
from xmc.loss_values import query_losses
from xmc.machine import cores
from xmc.optimizer_contract import LabelOptimizerOptions, LabelPreconditioner, OptimizerContext, OptimizerOptions
from xmc.option_ranges import require_at_least, require_at_most, require_positive, require_share
from xmc.ranking import rank_hits
from xmc.rerankers import RerankContext, Reranker, RerankerOptions, RerankQueries, TextReranker
from xmc.rounding_bounds import float32_product_error, rounding_bounds
from xmc.specs import (
    AugmentationSpec,
    CheckSpec,
    EncoderSpec,
    HeadSpec,
    IndexSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    RecipeSpec,
    RerankerSpec,
)
from xmc.substitutions.word_sets import Site, Substitutions, read_substitutions, replaced
from xmc.teacher_scores import TeacherScores
from xmc.values import Hits, IndexReport, Positives, RunInfo
from xmc.vectors import (
    checked_array,
    checked_units,
    validate_chunks,
    validate_k,
    validate_label_rows,
    validate_similarity,
    validate_vectors,
)

if TYPE_CHECKING:
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


__all__ = [
    "API_VERSION",
    "AdditiveEncoder",
    "ArtifactError",
    "Augmentation",
    "AugmentationContext",
    "AugmentationOptions",
    "AugmentationSpec",
    "CertifyingIndex",
    "Check",
    "CheckContext",
    "CheckFigure",
    "CheckResult",
    "CheckSpec",
    "ConfigError",
    "CountedBackend",
    "DataError",
    "DeviceError",
    "EncoderSpec",
    "EpochModel",
    "FilteredIndex",
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
    "LabelOptimizerOptions",
    "LabelPreconditioner",
    "Learned",
    "Loss",
    "LossInputs",
    "LossSpec",
    "MetricSpec",
    "NonFiniteError",
    "OptimizerContext",
    "OptimizerOptions",
    "OptimizerSpec",
    "PlacedBackend",
    "PluginError",
    "Positives",
    "ProposingBackend",
    "QueryMap",
    "RecipeSpec",
    "RerankContext",
    "RerankQueries",
    "Reranker",
    "RerankerOptions",
    "RerankerSpec",
    "RowStateLoss",
    "RunInfo",
    "Site",
    "Substitutions",
    "TeacherScores",
    "TextReranker",
    "TunableIndex",
    "WholeHeadOptions",
    "XmcError",
    "XmcWarning",
    "best_of_all",
    "checked_array",
    "checked_units",
    "cores",
    "counted",
    "dot_pairs",
    "float32_product_error",
    "hookimpl",
    "most_candidates",
    "normalise_rows",
    "query_losses",
    "rank_hits",
    "read_substitutions",
    "replaced",
    "require_at_least",
    "require_at_most",
    "require_positive",
    "require_share",
    "rounded_dots",
    "rounded_pairs",
    "rounding_bounds",
    "validate_chunks",
    "validate_k",
    "validate_label_rows",
    "validate_similarity",
    "validate_vectors",
]
