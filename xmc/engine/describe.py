"""What a run folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.engine.card_reports import as_written, evaluation_figures, figures_are_stale, named_parts, read_report
from xmc.engine.label_editing import LabelEditor
from xmc.engine.run_config import read_run_toml
from xmc.errors import quoted
from xmc.retrieve.layout import encoder_store, index_store, labels_store, passages_store, reranker_store
from xmc.retrieve.run_state import query_weight_of
from xmc.train.checkpoint import open_store


def describe_run(run: Path) -> dict[str, Any]:
    """Facts about a run, after verifying its stored folders.

    Raises: ConfigError when the folder is not a run, ArtifactError when something in it is damaged.
    """
    facts: dict[str, Any] = dict(named_parts(read_run_toml(run)))
    if index_store(run).exists():  # `xmc index` may have built another one than the run was configured with
        version = index_store(run).current()
        facts["index"] = version.manifest.facts["name"]
        facts |= _chosen_by_goal(version.folder / "index.json")
        if weight := query_weight_of(run):
            facts["index query_weight"] = weight
    if reranker_store(run).exists():  # by `xmc rerank`, too
        stage = reranker_store(run).current().manifest.facts
        facts["reranker"] = stage["name"]
        if prior := stage.get("prior"):
            facts["reranker prior"] = prior
    stores = {
        "checkpoint": open_store,
        "encoder": encoder_store,
        "index": index_store,
        "labels": labels_store,
        "reranker": reranker_store,
        "passages": passages_store,
    }
    for name, store_of in stores.items():
        facts[f"{name} folder"] = _verified(store_of(run)) if store_of(run).exists() else "none"
    if index_store(run).exists():
        facts["labels"] = _labels(run)
    for name in ("train", "report"):
        path = run / f"{name}.json"
        if (report := read_report(path)) is not None:
            with as_written(path):
                facts |= _figures(name, report)
    if figures_are_stale(run):
        facts["note"] = f"it has changed since its figures were measured. Again: xmc evaluate --run {quoted(run)}"
    return facts


def _labels(run: Path) -> str:
    """How many labels there are, and where."""
    report = LabelEditor(run).report()
    return f"{report.labels:,}: {report.base:,} in the index, {report.added:,} added and {report.removed:,} gone since"


def _chosen_by_goal(path: Path) -> dict[str, Any]:
    """What was asked of the index and what it reached; nothing where it was named."""
    kept = ("recall", "recall_low", "recall_high", "queries_per_s", "latency_s", "search_options", "exact", "notes")
    with as_written(path):
        choice = json.loads(path.read_text(encoding="utf-8"))["report"].get("choice")
        if choice is None:
            return {}
        return {"index goal": choice["asked"], "index reaches": {name: choice[name] for name in kept}}


def _verified(store: Any) -> str:
    version = store.current()
    size = sum(size for size, _ in version.manifest.files.values())
    return f"{version.folder} ({counted(len(version.manifest.files), 'file')}, {counted(size, 'byte')}, verified)"


def _figures(name: str, report: dict[str, Any]) -> dict[str, Any]:
    if name == "train":
        kept = ("label_scope", "device_used", "epochs_run", "best_validation_p1", "train_s")
        facts = {f"train {key}": report[key] for key in kept}
        if report["best_validation_p1"] < 0:  # nothing was held out to validate on
            facts["train best_validation_p1"] = "none"
        return facts | {"versions": report["versions"]}
    return {name: round(figure["value"], 4) for name, figure in evaluation_figures(report).items()}
