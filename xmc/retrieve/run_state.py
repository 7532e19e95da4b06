"""What will answer in a run, and which state it is in, without loading encoder and index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import PlacedBackend
from xmc.data.tables import LabelTable, read_labels
from xmc.plugin_manager import load_plugins
from xmc.retrieve.answering import Answering, Lineage
from xmc.retrieve.fitted import CHECKS, Fitted, read_fitted
from xmc.retrieve.label_edits import LabelEdits, read_edits
from xmc.retrieve.layout import (
    INDEX_FACTS,
    INDEX_LABELS,
    encoder_store,
    fitted_store,
    index_store,
    reranker_store,
)
from xmc.retrieve.living_labels import LivingLabels, live_labels
from xmc.retrieve.own_vectors import FILE_NAME as OWN_NAME
from xmc.retrieve.own_vectors import load_own
from xmc.retrieve.reranking import scores_again
from xmc.retrieve.run_plugins import recorded_options

if TYPE_CHECKING:
    from xmc.store.versions import Version


def identity_of(run: Path) -> dict[str, str]:
    """The `identity` that a retriever of this run will have, encoder and index being verified.

    Raises: ArtifactError when the folder is not a run, or is damaged.
    """
    return dict(answering_of(run).identity)


def answering_of(run: Path) -> Answering:
    """What will answer in a retriever of this run, as `identity_of`. Raises: as `identity_of`."""
    encoder, index = encoder_store(run).current(), index_store(run).current()
    identity = {"encoder": encoder.sha256, "index": index.sha256}
    edits = read_edits(run)
    if _living_of(index, edits):
        identity["labels"] = edits.sha256
    if reranker_store(run).exists() and scores_again(version := reranker_store(run).current()):
        identity["reranker"] = version.sha256
    return Answering(identity, edits, Lineage.from_dict(description_of(index)))


def fitted_now(run: Path) -> Fitted:
    """What is fitted to a run, without loading encoder and index; where nothing is, they are not verified either.

    Raises: as `identity_of`.
    """
    if not any(fitted_store(run, check, kind).exists() for kind, check in CHECKS.items()):
        return Fitted()
    return read_fitted(run, answering_of(run))


def parts_now(run: Path) -> tuple[str, ...]:
    """The identities of encoder, index, second stage and label changes as the run names them, nothing verified.

    Raises: ArtifactError when one of the names is damaged.
    """
    stores = encoder_store(run), index_store(run), reranker_store(run)
    return (*(store.current_sha256() for store in stores), read_edits(run).sha256)


def require_device(run: Path, device: str) -> None:
    """Refuse a device that the index of a run cannot lie on; what any may lie on is not looked at.

    Raises: DeviceError; ConfigError for what is no device; ArtifactError, PluginError as far as they go.
    """
    if device in ("auto", "cpu"):
        return
    index = index_store(run).current(only=(INDEX_FACTS,))
    backend = recorded_options(load_plugins(), "index", description_of(index))
    if isinstance(backend, PlacedBackend):
        backend.require_device(device)


def labels_of(run: Path) -> LabelTable:
    """The `labels` that a retriever of this run will have, without loading encoder and index.

    Raises: ArtifactError when the folder is not a run, or is damaged.
    """
    index = index_store(run).current(only=(INDEX_LABELS, OWN_NAME))
    living = _living_of(index, read_edits(run))
    return living.labels if living else read_labels([index.folder / INDEX_LABELS])


def generation_of(run: Path, shas: Mapping[str, str]) -> str:
    """A name for a state of a run: the identities of its parts, and of what is fitted to them now."""
    parts = {name: sha for name, sha in shas.items() if sha}
    for kind, check in CHECKS.items():
        parts[kind] = fitted_store(run, check, kind).current_sha256()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def description_of(index: Version) -> dict[str, Any]:
    """What an index says of itself: backend, options, encoder, report."""
    description: dict[str, Any] = json.loads((index.folder / INDEX_FACTS).read_text(encoding="utf-8"))
    return description


def query_weight_of(run: Path) -> float:
    """What a training query counts beside a label's text in the index of a run; 0 where labels are their texts alone.

    Raises: ArtifactError for a damaged index.
    """
    if not index_store(run).exists():
        return 0.0
    index = index_store(run).current(only=(INDEX_FACTS,))
    return float(description_of(index)["report"].get("query_weight", 0.0))


def _living_of(index: Version, edits: LabelEdits) -> LivingLabels | None:
    """The labels of an index after the edits, None when nothing was edited since it was built."""
    return live_labels(read_labels([index.folder / INDEX_LABELS]), load_own(index.folder), edits)
