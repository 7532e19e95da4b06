"""Open a run for searching: model, index, the edits of its labels, second stage, what was fitted; and open it again.

The index is read before the edits: edits only grow, so those that are read later are never older than those that the
index was built with, and the two together are one committed label set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.data.tables import LabelTable, read_labels
from xmc.errors import ArtifactError, ConfigError, DataError, quoted
from xmc.machine import warn_of_threads_beyond_quota
from xmc.plugin_manager import given_plugins
from xmc.retrieve.answering import Answering, Lineage
from xmc.retrieve.checked_index import checked
from xmc.retrieve.fitted import read_fitted
from xmc.retrieve.flat_scan import FlatScan
from xmc.retrieve.label_edits import LabelEdits, read_edits
from xmc.retrieve.label_means import LabelMeans, load_means
from xmc.retrieve.layout import encoder_store, index_store, labels_store, reranker_store
from xmc.retrieve.living_index import LivingIndex
from xmc.retrieve.living_labels import LivingLabels, live_labels
from xmc.retrieve.own_vectors import OwnVectors, load_own
from xmc.retrieve.query_map import load_query_map
from xmc.retrieve.reranking import NONE, load_reranking
from xmc.retrieve.run_plugins import naming_packages, recorded_options, warn_of_other_files
from xmc.retrieve.run_state import description_of, generation_of
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.retrieve.unfinished import require_indexed
from xmc.vectors import validate_device

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index, IndexReport, QueryMap
    from xmc.plugin_manager import Plugins
    from xmc.store.versions import Version

FILLED_IN = ("choice", "query_weight")


@dataclass(frozen=True, eq=False)
class BuiltIndex:
    """The index that was built last, with the labels it was built of, before any edit since."""

    index: Index
    backend: Any
    labels: LabelTable
    own: Mapping[str, str]
    query_map: QueryMap | None
    means: LabelMeans | None
    reranker: str
    lineage: Lineage
    noted: Mapping[str, Any]  # of its report, what the engine filled in
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
    import torch

    validate_device(device)
    plugins = given_plugins(plugins)
    with naming_packages(run, plugins):
        model = _model(run, plugins, before)
        built = _built_index(run, model, plugins, device, before, index)
    if before is None:
        warn_of_other_files(run, plugins, stacklevel=3)
        warn_of_threads_beyond_quota(torch.get_num_threads(), stacklevel=3)
    edits = read_edits(run)
    edits.require_encoder(model.sha256)
    own_model = replace(model, own=OwnVectors.of(edits), means=built.means)
    living = live_labels(built.labels, built.own, edits)
    labels = living.labels if living else built.labels
    reranking = None
    stage = reranker_store(run).current_sha256() if reranked else ""  # read first: one committed later is then a change
    if reranked:
        changed = bool(edits.edits)
        reranking = load_reranking(
            run, model.sha256, labels, expected=built.reranker, plugins=plugins, labels_may_differ=changed
        )
    shas = {"encoder": model.sha256, "index": built.sha256, "labels": edits.sha256}
    if reranking:
        shas["reranker"] = reranking.sha256
    identity = {part: sha for part, sha in shas.items() if living or part != "labels"}
    generation = generation_of(run, shas | {"reranker": stage})
    opened = Opened(run, device, plugins, reranked, model, built, edits, generation, warn)
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
    description = description_of(version)
    if description["encoder_sha256"] != model.sha256:
        raise ArtifactError(
            f"the index of {run} was built with another encoder than the one that is there now.",
            hint=f"Build it again: xmc index --run {quoted(run)}",
        )
    backend = recorded_options(plugins, "index", description)
    labels = read_labels([version.folder / "labels.parquet"])
    return BuiltIndex(
        index or checked(backend.load(version.folder / "backend", device=device), description["name"], plugins),
        backend,
        labels,
        load_own(version.folder),
        load_query_map(version.folder),
        load_means(version.folder, labels),
        description.get("reranker", NONE),
        Lineage.from_dict(description),
        {name: description["report"][name] for name in FILLED_IN if name in description["report"]},
        version.sha256,
    )


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
