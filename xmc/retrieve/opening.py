"""Open a run for searching: model, index, the edits of its labels, second stage, what was fitted; and open it again.

The index is read before the edits: edits only grow, so those that are read later are never older than those that the
index was built with, and the two together are one committed label set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import PlacedBackend
from xmc.data.tables import LabelTable, read_labels
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.answering import Answering, Lineage
from xmc.retrieve.fitted import CHECKS, Fitted, read_fitted
from xmc.retrieve.flat_scan import FlatScan
from xmc.retrieve.label_edits import LabelEdits, read_edits
from xmc.retrieve.layout import encoder_store, fitted_store, index_store, labels_store, reranker_store
from xmc.retrieve.living_index import LivingIndex
from xmc.retrieve.living_labels import LivingLabels, live_labels
from xmc.retrieve.own_vectors import OwnVectors, load_own
from xmc.retrieve.query_map import load_query_map
from xmc.retrieve.reranking import NONE, load_reranking
from xmc.retrieve.run_plugins import naming_packages, recorded_options, warn_of_other_files
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.retrieve.unfinished import require_indexed

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index, IndexReport, QueryMap
    from xmc.plugin_manager import Plugins
    from xmc.store.versions import Version


@dataclass(frozen=True, eq=False)
class BuiltIndex:
    """The index that was built last, with the labels it was built of, before any edit since."""

    index: Index
    backend: Any
    labels: LabelTable
    own: Mapping[str, str]
    query_map: QueryMap | None
    reranker: str
    lineage: Lineage
    sha256: str


@dataclass(frozen=True, eq=False)
class Opened:
    """Where a retriever comes from, and what the next one can share with it."""

    run: Path
    device: str
    plugins: Plugins
    reranked: bool
    model: TrainedModel
    built: BuiltIndex
    edits: LabelEdits
    generation: str
    warn: bool = True


def open_run(
    run: Path,
    *,
    device: str = "auto",
    plugins: Plugins | None = None,
    reranked: bool = True,
    before: Opened | None = None,
    index: Index | None = None,
    warn: bool = True,
) -> dict[str, Any]:
    """The fields of a `Retriever` over a run; what did not change since `before` is taken from there.

    `index` stands in for the built one, which is then not loaded; edits are searched beside it all the same.
    Raises: ArtifactError when the folder is not a run, is half or damaged, or when its index or reranker was made
    for another encoder; PluginError when it needs a plugin that is not installed.
    """
    if not run.is_dir():
        raise ArtifactError(f"there is no run folder {run}.", hint=f"Make one with: xmc train --data DATA --out {run}")
    plugins = plugins or load_plugins()
    with naming_packages(run, plugins):
        model = _model(run, plugins, before)
        built = _built_index(run, model, plugins, device, before, index)
    if before is None:
        warn_of_other_files(run, plugins, stacklevel=3)
    edits = read_edits(run)
    edits.require_encoder(model.sha256)
    own_model = replace(model, own=OwnVectors.of(edits))
    living = live_labels(built.labels, built.own, edits)
    labels = living.labels if living else built.labels
    reranking = None
    if reranked:
        changed = bool(edits.edits)
        reranking = load_reranking(
            run, model.sha256, labels, expected=built.reranker, plugins=plugins, labels_may_differ=changed
        )
    identity = {"encoder": model.sha256, "index": built.sha256}
    if living:
        identity["labels"] = edits.sha256
    if reranking:
        identity["reranker"] = reranking.sha256
    shas = {**identity, "labels": edits.sha256}
    opened = Opened(run, device, plugins, reranked, model, built, edits, generation_of(run, shas), warn)
    return {
        "model": own_model,
        "index": _living_index(built, living, own_model, edits, device) if living else built.index,
        "labels": labels,
        "query_map": built.query_map,
        "reranking": reranking,
        "fitted": read_fitted(run, Answering(identity, edits, built.lineage)),
        "index_sha256": built.sha256,
        "labels_sha256": edits.sha256 if living else "",
        "opened": opened,
    }


def identity_of(run: Path) -> dict[str, str]:
    """The `identity` that a retriever of this run will have, without loading encoder and index; both are verified.

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
    if reranker_store(run).exists():
        identity["reranker"] = reranker_store(run).current().sha256
    return Answering(identity, edits, Lineage.from_dict(_description(index)))


def fitted_now(run: Path) -> Fitted:
    """What is fitted to a run, without loading encoder and index; where nothing is, they are not verified either.

    Raises: as `identity_of`.
    """
    if not any(fitted_store(run, check, kind).exists() for kind, check in CHECKS.items()):
        return Fitted()
    return read_fitted(run, answering_of(run))


def require_device(run: Path, device: str) -> None:
    """Refuse a device that the index of a run cannot lie on, without loading it; what any may lie on is not looked at.

    Raises: DeviceError; ConfigError for what is no device; ArtifactError, PluginError as far as they go.
    """
    if device in ("auto", "cpu"):
        return
    backend = recorded_options(load_plugins(), "index", _description(index_store(run).current()))
    if isinstance(backend, PlacedBackend):
        backend.require_device(device)


def labels_of(run: Path) -> LabelTable:
    """The `labels` that a retriever of this run will have, without loading encoder and index.

    Raises: ArtifactError when the folder is not a run, or is damaged.
    """
    index = index_store(run).current()
    living = _living_of(index, read_edits(run))
    return living.labels if living else read_labels([index.folder / "labels.parquet"])


def _living_of(index: Version, edits: LabelEdits) -> LivingLabels | None:
    """The labels of an index after the edits, None when nothing was edited since it was built."""
    return live_labels(read_labels([index.folder / "labels.parquet"]), load_own(index.folder), edits)


def reopened(opened: Opened | None) -> dict[str, Any] | None:
    """The fields of a new retriever over the same run, None when nothing was committed since.

    Raises: ArtifactError for a retriever that was not loaded from a run; as `open_run`.
    """
    if opened is None:
        raise ArtifactError("this retriever was not loaded from a run.", hint="Open it with Retriever.load.")
    stores = {"encoder": encoder_store, "index": index_store, "labels": labels_store}
    if opened.reranked:
        stores["reranker"] = reranker_store
    shas = {name: store_of(opened.run).current_sha256() for name, store_of in stores.items()}
    if generation_of(opened.run, shas) == opened.generation:
        return None
    return open_run(
        opened.run,
        device=opened.device,
        plugins=opened.plugins,
        reranked=opened.reranked,
        before=opened,
        warn=opened.warn,
    )


def generation_of(run: Path, shas: Mapping[str, str]) -> str:
    """A name for a state of a run: the identities of its parts, and of what is fitted to them now."""
    parts = {name: sha for name, sha in shas.items() if sha}
    for kind, check in CHECKS.items():
        parts[kind] = fitted_store(run, check, kind).current_sha256()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _model(run: Path, plugins: Plugins, before: Opened | None) -> TrainedModel:
    if before and before.model.sha256 == encoder_store(run).current_sha256():
        return before.model
    return load_model(run, plugins=plugins)


def _built_index(
    run: Path, model: TrainedModel, plugins: Plugins, device: str, before: Opened | None, index: Index | None
) -> BuiltIndex:
    if before and before.model is model and before.built.sha256 == index_store(run).current_sha256():
        return before.built
    require_indexed(run)
    return index_store(run).parse_current(partial(_open_index, run, model, plugins, device, index))


def _open_index(
    run: Path, model: TrainedModel, plugins: Plugins, device: str, index: Index | None, version: Version
) -> BuiltIndex:
    description = _description(version)
    if description["encoder_sha256"] != model.sha256:
        raise ArtifactError(
            f"the index of {run} was built with another encoder than the one that is there now.",
            hint=f"Build it again: xmc index --run {run}",
        )
    backend = recorded_options(plugins, "index", description)
    return BuiltIndex(
        index or backend.load(version.folder / "backend", device=device),
        backend,
        read_labels([version.folder / "labels.parquet"]),
        load_own(version.folder),
        load_query_map(version.folder),
        description.get("reranker", NONE),
        Lineage.from_dict(description),
        version.sha256,
    )


def _description(index: Version) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((index.folder / "index.json").read_text(encoding="utf-8"))
    return description


def _living_index(
    built: BuiltIndex, living: LivingLabels, model: TrainedModel, edits: LabelEdits, device: str
) -> Index:
    """Base and added labels."""
    added = living.added
    delta = None
    if len(added):
        delta = index_beside(built.index.report, built.backend, added_vectors(model, edits, added), device=device)
    return LivingIndex.of(built.index, delta, living)


def index_beside(base: IndexReport, backend: Any, vectors_NE: Tensor, *, device: str) -> Index:
    """The index of labels that were added beside one of this backend, whose report is `base`.

    Beside an exact one it is of the same backend, so that equal vectors tie to the bit. Options of that may ask for
    more labels, or for smaller numbers: then a scan, which ties as well.
    """
    if base.exact:
        try:
            index: Index = backend.build([vectors_NE], similarity=base.similarity, device=device)
            return index
        except (ConfigError, DataError):
            pass
    return FlatScan.of(vectors_NE, similarity=base.similarity)


def added_vectors(model: TrainedModel, edits: LabelEdits, added: LabelTable) -> Tensor:
    """The vectors of these labels, (N, E), dense or CSR: kept ones, and made anew where none of this model is kept."""
    import numpy as np
    import torch

    from xmc.encode.csr import concatenate_rows, take_rows

    rows_N = np.array([edits.edits[label_id].row for label_id in added.ids], dtype=np.int64)
    if edits.encoder_sha256 != model.sha256:
        rows_N[:] = -1
    missing = np.flatnonzero(rows_N < 0)
    parts = [] if edits.vectors_NE is None else [edits.vectors_NE]
    kept = 0 if edits.vectors_NE is None else edits.vectors_NE.shape[0]
    if len(missing):
        parts += list(model.label_vectors(added.take(missing))[0])
        rows_N[missing] = kept + np.arange(len(missing))
    return take_rows(concatenate_rows(parts, dimension=parts[0].shape[1]), torch.from_numpy(rows_N))
