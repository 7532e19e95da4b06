"""The hooks a plugin may implement. Declaring hooks are called once, right after loading, and must not import torch.

Lifecycle hooks watch: what they return is ignored, so a run never depends on which observers are installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pluggy

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
from xmc.values import IndexReport, RunInfo

hookspec = pluggy.HookspecMarker("xmc")


@hookspec
def xmc_losses() -> Iterable[LossSpec]:  # type: ignore[empty-body]
    """Declare losses. Called once per load of the plugins. Since API version 1."""


@hookspec
def xmc_indexes() -> Iterable[IndexSpec]:  # type: ignore[empty-body]
    """Declare index backends. Called once per load of the plugins. Since API version 1."""


@hookspec
def xmc_encoders() -> Iterable[EncoderSpec]:  # type: ignore[empty-body]
    """Declare text encoders. Called once per load of the plugins. Since API version 1."""


@hookspec
def xmc_heads() -> Iterable[HeadSpec]:  # type: ignore[empty-body]
    """Declare heads: what the labels are and how they learn. Called once per load. Since API version 1."""


@hookspec
def xmc_rerankers() -> Iterable[RerankerSpec]:  # type: ignore[empty-body]
    """Declare rerankers: second stages over a shortlist. Called once per load. Since API version 1."""


@hookspec
def xmc_augmentations() -> Iterable[AugmentationSpec]:  # type: ignore[empty-body]
    """Declare augmentations: what rewrites training queries. Called once per load. Since API version 1."""


@hookspec
def xmc_optimizers() -> Iterable[OptimizerSpec]:  # type: ignore[empty-body]
    """Declare optimisers of the encoder's parameters. Called once per load. Since API version 1."""


@hookspec
def xmc_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Declare ranking metrics. Called once per load of the plugins. Since API version 1."""


@hookspec
def xmc_checks() -> Iterable[CheckSpec]:  # type: ignore[empty-body]
    """Declare checks of a finished run. Called once per load of the plugins. Since API version 1."""


@hookspec
def xmc_recipes() -> Iterable[RecipeSpec]:  # type: ignore[empty-body]
    """Declare recipes (full configurations). Called once per load of the plugins. Since API version 1."""


@hookspec
def xmc_run_started(run: RunInfo) -> None:
    """Watch a training run begin, after its configuration is resolved and written. Since API version 1."""


@hookspec
def xmc_epoch_finished(run: RunInfo, epoch: int, metrics: Mapping[str, float]) -> None:
    """Watch the end of an epoch (counted from 1) with its mean loss and validation figures. Since API version 1."""


@hookspec
def xmc_index_built(run: RunInfo, report: IndexReport) -> None:
    """Watch an index that has just been committed to disk. Since API version 1."""


@hookspec
def xmc_run_finished(run: RunInfo, error: BaseException | None) -> None:
    """Watch a training run end, always; `error` is None when it went well. Since API version 1."""
