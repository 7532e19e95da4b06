"""Build the index of a run: make every label's vector, hand them to the backend, commit the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import Index, QueryMap
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, label_table_to_arrow, read_labels
from xmc.engine.beside_committed import beside_committed
from xmc.engine.carried import Carried
from xmc.engine.index_lineage import lineage_of
from xmc.engine.moved_labels import moved_labels, require_movable_head
from xmc.engine.run_config import RunConfig
from xmc.errors import ArtifactError, DataError, LockedError
from xmc.index_building import build_index
from xmc.plugin_manager import Plugins
from xmc.retrieve.label_edits import LabelEdits, read_edits
from xmc.retrieve.label_means import FILES as MEANS_FILES
from xmc.retrieve.label_means import LabelMeans, load_means
from xmc.retrieve.layout import encoder_store, index_store
from xmc.retrieve.own_vectors import OwnVectors, save_own
from xmc.retrieve.query_map import save_query_map
from xmc.retrieve.run_state import description_of
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.store import write_json
from xmc.values import IndexReport, RunInfo

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class IndexedLabels:
    """What an index is over: the labels in its order, with the edits of the run, and the vectors that a model makes."""

    model: TrainedModel
    labels: LabelTable
    edits: LabelEdits
    chunks: Iterator[Tensor]
    query_map: QueryMap | None
    before: str  # the identity of the index that was there ("" for none), whose labels these may be
    means: LabelMeans | None  # those that their training queries moved
    moves: dict[str, Any]  # how far, and how that was chosen

    @property
    def similarity(self) -> str:
        """How the index scores; of what a query map gives, the length means something."""
        return "dot" if self.query_map else self.model.encoder.similarity


def labels_to_index(
    config: RunConfig,
    run: Path,
    *,
    plugins: Plugins,
    carried: Carried | None = None,
    labels: LabelTable | None = None,
    before: str | None = None,
) -> IndexedLabels:
    """The labels of the run's data set, unless `labels` are given, with all edits, in the order of their ids.

    `before` is the identity of the index that given labels are of.

    That order makes a backend's tie rule (lower row first) the promised one (lower label id first).
    Raises: ArtifactError when the run has no trained encoder, or a label has a vector that was given for another one;
    DataError for a label that its head does not know, and when the edits leave no label.
    """
    before = _index_there(run) if before is None else before
    if labels is None:
        require_movable_head(config)
    model, edits = load_model(run, plugins=plugins), read_edits(run)
    edits.require_encoder(model.sha256)
    model = replace(model, own=OwnVectors.of(edits))
    if labels is not None:
        return _as_they_are(model, _given(labels, edits, run), edits, before, *_moved_there(run))
    carried = carried or Carried()
    moves = bool(config.labels.query_weight)
    data = carried.load(config) if moves or carried.data else load_dataset(config.data.name)
    labels = _given(data.labels, edits, run)
    if not moves:
        return _as_they_are(model, labels, edits, before)
    chunks, query_map = model.label_vectors(labels)
    moved = moved_labels(config, data, model, labels, edits, chunks, carried.train_features)
    return IndexedLabels(model, labels, edits, moved.chunks, query_map, before, moved.means, moved.facts)


def _given(labels: LabelTable, edits: LabelEdits, run: Path) -> LabelTable:
    """The labels with all edits, in the order of their ids."""
    labels = edits.applied(sort_labels(labels))
    if not len(labels):
        raise DataError(f"all labels of {run} are removed.", hint="Add some: xmc labels add")
    return labels


def _as_they_are(
    model: TrainedModel,
    labels: LabelTable,
    edits: LabelEdits,
    before: str,
    means: LabelMeans | None = None,
    moves: dict[str, Any] | None = None,
) -> IndexedLabels:
    """Labels whose vectors the model makes of their texts, but for those that were moved before."""
    model = replace(model, means=means)
    chunks, query_map = model.label_vectors(labels)
    return IndexedLabels(
        model, labels, edits, chunks, query_map, before, means.beside(labels) if means else None, moves or {}
    )


def _moved_there(run: Path) -> tuple[LabelMeans | None, dict[str, Any]]:
    """The labels that were moved in the run's index, and what is noted of it. Raises: ArtifactError."""
    version = index_store(run).current(only=("index.json", "labels.parquet", *MEANS_FILES))
    labels = read_labels([version.folder / "labels.parquet"])
    return load_means(version.folder, labels), description_of(version).get("moves", {})


def run_indexing(
    config: RunConfig,
    run: Path,
    *,
    plugins: Plugins,
    device: str = "auto",
    carried: Carried | None = None,
    labels: LabelTable | None = None,
    before: str | None = None,
) -> IndexReport:
    """Index labels, with all edits, by the backend of `[index]`; make it the current index.

    The labels are those of the run's data set unless `labels` are given, those of the index `before`. The earlier index
    stays current until the new one is whole. Edits committed while it is built are not in it; they stay edits.
    Raises: as `labels_to_index`; what the backend raises; PluginError when not every label got into the index.
    """
    indexed = labels_to_index(config, run, plugins=plugins, carried=carried, labels=labels, before=before)
    index = build_index(
        config.index.options,
        indexed.chunks,
        labels=len(indexed.labels),
        similarity=indexed.similarity,
        device=device,
    )
    report = replace(index.report, query_weight=float(indexed.moves.get("query_weight", 0.0)))
    commit_index(config, run, index, report, indexed, plugins=plugins)
    return report


def commit_index(
    config: RunConfig,
    run: Path,
    index: Index,
    report: IndexReport,
    indexed: IndexedLabels,
    *,
    plugins: Plugins,
    fill: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Make an index that was built with the backend of `[index]` the run's current one; `fill` may add files.

    Raises: LockedError when another index or encoder was committed since the labels were read: that one stays;
    ArtifactError when it is committed and `plugins.json` cannot be written.
    """
    section = config.index.to_dict()
    description = {
        "name": section.pop("name"),
        "options": section,
        "encoder_sha256": indexed.model.sha256,
        "reranker": config.second_stage,
        "moves": indexed.moves,
        "report": asdict(report),
    }
    with index_store(run).new_version(facts={"name": config.index.name}, keep=2) as folder:
        _require_unchanged(run, indexed)
        (folder / "backend").mkdir()
        index.save(folder / "backend")
        write_table(folder / "labels.parquet", label_table_to_arrow(indexed.labels))
        save_own(folder, indexed.labels, indexed.edits)
        save_query_map(folder, indexed.query_map)
        if indexed.means:
            indexed.means.save(folder, len(indexed.labels))
        fill(folder)
        lineage = lineage_of(run, description, indexed)
        write_json(folder / "index.json", {**description, **lineage.to_dict()})
    with beside_committed(run, "index"):
        config.write_plugins(run, "index", plugins=plugins)
    plugins.index_built(RunInfo(str(run), config.to_dict(), labels=len(indexed.labels)), report)


def _index_there(run: Path) -> str:
    """The identity of the run's index; of one that cannot even be named, which a new one may replace, "damaged"."""
    try:
        return index_store(run).current_sha256()
    except ArtifactError:
        return "damaged"


def _require_unchanged(run: Path, indexed: IndexedLabels) -> None:
    """Refuse to put an index in the place of one that it knows nothing of."""
    others = {
        "index": _index_there(run) != indexed.before,
        "encoder": encoder_store(run).current_sha256() != indexed.model.sha256,
    }
    if changed := [name for name, other in others.items() if other]:
        raise LockedError(
            f"another {' and '.join(changed)} of {run} was committed while this index was built, and stays.",
            hint="Start again, with one command at a time.",
        )


def sort_labels(labels: LabelTable) -> LabelTable:
    """The label table in the order of the label ids (by code point)."""
    order = sorted(range(len(labels)), key=labels.ids.__getitem__)
    return labels.take(np.array(order, dtype=np.int64))
