"""Build the index of a run: make every label's vector, hand them to the backend, commit the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from xmc.api import Index, QueryMap
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, label_table_to_arrow
from xmc.engine.carried import Carried
from xmc.engine.run_config import RunConfig
from xmc.plugin_manager import Plugins
from xmc.retrieve.layout import index_store
from xmc.retrieve.query_map import save_query_map
from xmc.retrieve.trained_model import load_model
from xmc.store import write_json
from xmc.values import IndexReport, RunInfo


@dataclass(frozen=True)
class IndexedLabels:
    """What an index is over: the model that made the vectors, the labels in its order, the map of queries."""

    model_sha256: str
    labels: LabelTable
    query_map: QueryMap | None


def run_indexing(
    config: RunConfig, run: Path, *, plugins: Plugins, device: str = "auto", carried: Carried | None = None
) -> IndexReport:
    """Index the labels of the run's data set with the backend of `[index]` and make it the run's current index.

    Labels are put in the order of their ids first, so that a backend's tie rule (lower row first) is the promised one
    (lower label id first). The earlier index stays current until the new one is whole.
    Raises: ArtifactError when the run has no trained encoder; DataError for a label that its head does not know.
    """
    model = load_model(run, plugins=plugins)
    data = carried.load(config) if carried else load_dataset(config.data.name)
    labels = sort_labels(data.labels)
    chunks, query_map = model.label_vectors(labels)
    similarity = "dot" if query_map else model.encoder.similarity  # of what a map gives, the length means something
    index = config.index.options.build(chunks, similarity=similarity, device=device)
    report: IndexReport = index.report
    commit_index(config, run, index, report, IndexedLabels(model.sha256, labels, query_map), plugins=plugins)
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
    """Make an index that was built with the backend of `[index]` the run's current one; `fill` may add files."""
    with index_store(run).new_version(facts={"name": config.index.name}, keep=2) as folder:
        (folder / "backend").mkdir()
        index.save(folder / "backend")
        write_table(folder / "labels.parquet", label_table_to_arrow(indexed.labels))
        save_query_map(folder, indexed.query_map)
        fill(folder)
        section = config.index.to_dict()
        write_json(
            folder / "index.json",
            {
                "name": section.pop("name"),
                "options": section,
                "encoder_sha256": indexed.model_sha256,
                "reranker": config.reranker.name,
                "report": asdict(report),
            },
        )
    plugins.index_built(RunInfo(str(run), config.to_dict(), labels=len(indexed.labels)), report)


def sort_labels(labels: LabelTable) -> LabelTable:
    """The label table in the order of the label ids (by code point)."""
    order = sorted(range(len(labels)), key=labels.ids.__getitem__)
    return labels.take(np.array(order, dtype=np.int64))
