"""Evaluate a run on a split of its data set."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xmc.data.dataset import Dataset
from xmc.data.fingerprint import fingerprint_of
from xmc.engine.data_since import data_since_training
from xmc.engine.environment import versions
from xmc.engine.model_card import write_card
from xmc.engine.progress import Progress, counting, say_nothing
from xmc.engine.removed_labels import require_positives, without_removed
from xmc.engine.run_config import RunConfig
from xmc.engine.separation import measure_separation, search_depth
from xmc.engine.training_set import load_for_training
from xmc.errors import DataError
from xmc.evaluate.report import EvaluationReport, evaluate_hits
from xmc.plugin_manager import Plugins
from xmc.ranking import first_hits
from xmc.retrieve.batch import search_texts, write_hits
from xmc.retrieve.label_edits import read_edits
from xmc.retrieve.retriever import Retriever
from xmc.store import write_json
from xmc.values import Positives

OF_BAGS = (
    "the training queries are in bags: head to zero-shot, PSP and PSnDCG count a label by the shares that bags have of "
    "it, with any noise that is in them"
)


def run_evaluation(
    config: RunConfig,
    run: Path,
    *,
    plugins: Plugins,
    split: str = "test",
    device: str = "auto",
    on_progress: Progress = say_nothing,
) -> EvaluationReport:
    """Search every query of the split, judge the hits, write `run/hits/<split>.parquet`, `run/report.json`, the card.

    With `evaluate.auc_negatives` the report has the pooled AUC as well, and its curve is in `run/roc.csv` and `.png`.
    Frequencies (bands, propensities) are those of the queries the run was trained on.
    Labels that were removed from the run are no positives, and queries that had no others are left out, with a note.
    The report notes it, too, when the split is that of training, when the data set is another than then, and when
    frequencies are sums of the shares of bags, which count the noise of private labels as well. `on_progress` hears
    what is done of what.
    Raises: DataError when the data set has no such split, or none of its queries a positive any more, and when it does
    not fit the index.
    """
    data = without_removed(load_for_training(config), read_edits(run))
    if split not in data.splits:
        there = [name for name in data.splits if name != "train"]
        raise DataError(
            f"data set '{data.name}' has no split '{split}' (it has: {', '.join(data.splits)}).",
            hint=f"Use: {' or '.join(f'--split {name}' for name in there)}"
            if there
            else "Add a dev or test table of queries that it was not trained on.",
        )
    queries = data.splits[split]
    require_positives(queries, split)
    retriever = Retriever.load(run, device=device, plugins=plugins, warn=False)
    started = time.monotonic()
    shortlist = retriever.reranking.depth if retriever.reranking else 0
    depth = search_depth(config.evaluate, queries.positives, shortlist=shortlist)
    on_chunk = counting(partial(on_progress, "queries"), len(queries))
    deep_hits = search_texts(retriever, queries.texts, k=depth, on_chunk=on_chunk)
    search_s = time.monotonic() - started
    hits = first_hits(deep_hits, max(config.evaluate.ks))
    index_rows_L = index_rows(data, retriever)
    counts_L = np.zeros(len(retriever.labels), np.int64)
    counts_L[index_rows_L] = data.train_counts()
    truth = queries.positives
    positives = Positives(truth.offsets, index_rows_L[truth.label_rows], truth.weights)
    report = evaluate_hits(
        hits,
        positives,
        train_counts_L=counts_L,
        train_queries=len(data.train),
        options=config.evaluate,
        extra_metrics={offer.full_name: offer.load() for offer in plugins.offers["metric"]},
    )
    if split == "train":
        note = "runs are trained on the split 'train': of other queries these figures say nothing"
    else:
        note = data_since_training(run, data)
    report = replace(report, notes=(*report.notes, *([note] if note else [])))
    if data.train.bag_ids is not None:
        report = replace(report, notes=(*report.notes, OF_BAGS))
    if queries.bag_ids is not None:
        note = f"the queries of '{split}' are in bags, and judged by the labels of their bag for want of their own"
        report = replace(report, notes=(*report.notes, note))
    if config.evaluate.auc_negatives:
        top = config.evaluate.auc_negatives
        auc = measure_separation(retriever, queries.texts, deep_hits, positives, top_negatives=top, run=run)
        report = replace(report, auc=auc)
    write_hits(run / "hits" / f"{split}.parquet", queries.ids, hits, retriever.labels)
    write_json(run / "report.json", _to_dict(report, data, split, depth, search_s, retriever))
    write_card(run, plugins=plugins)
    return report


def index_rows(data: Dataset, retriever: Retriever) -> np.ndarray[Any, Any]:
    """For each label row of the data set its row in the index, (L,) int64.

    Raises: DataError when the index lacks a label of the data set.
    """
    row_of_id = {label_id: row for row, label_id in enumerate(retriever.labels.ids)}
    missing = [label_id for label_id in data.labels.ids if label_id not in row_of_id]
    if missing:
        raise DataError(
            f"the index lacks {len(missing)} labels of data set '{data.name}', such as '{missing[0]}'.",
            hint="The data changed after the index was built: run xmc index again.",
        )
    return np.array([row_of_id[label_id] for label_id in data.labels.ids], dtype=np.int64)


def _to_dict(
    report: EvaluationReport, data: Dataset, split: str, depth: int, search_s: float, retriever: Retriever
) -> dict[str, Any]:
    judged_by = fingerprint_of(data.labels, {split: data.splits[split]})
    return {
        "data": {
            "name": data.name,
            "split": split,
            "fingerprint": data.fingerprint,
            "split_fingerprint": judged_by,
            "notes": list(data.notes),
        },
        "model": retriever.identity,
        "evaluation": report.to_dict(),
        "search": {
            "k": depth,
            "seconds": round(search_s, 3),
            "queries_per_s": round(report.queries / max(search_s, 1e-9), 1),
            "index": retriever.report.backend,
            "exact": retriever.report.exact,
            "device_used": retriever.report.device_used,
        },
        "versions": versions(),
    }
