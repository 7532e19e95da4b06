"""Evaluate a run on a split of its data set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from xmc.data.dataset import Dataset
from xmc.data.fingerprint import fingerprint_of
from xmc.data.tables import QueryTable
from xmc.engine.data_since import data_since_training
from xmc.engine.environment import versions
from xmc.engine.index_rows import in_index, index_rows, train_counts
from xmc.engine.model_card import write_card
from xmc.engine.progress import Progress, counting, say_nothing
from xmc.engine.removed_labels import require_positives, without_removed
from xmc.engine.run_config import RunConfig
from xmc.engine.separation import measure_separation, search_depth
from xmc.engine.training_set import load_for_training
from xmc.errors import DataError, first_few
from xmc.evaluate.figures import figures_of
from xmc.evaluate.measurement import Measurement
from xmc.evaluate.report import Beside, EvaluationReport, evaluate_hits, measure_hits
from xmc.plugin_manager import Plugins
from xmc.ranking import first_hits
from xmc.retrieve.batch import search_texts, write_hits
from xmc.retrieve.label_edits import read_edits
from xmc.retrieve.retriever import Retriever
from xmc.store import write_json
from xmc.values import Hits, Positives

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
    beside: Path | None = None,
) -> EvaluationReport:
    """Search every query of the split, judge the hits, write `run/hits/<split>.parquet`, `run/report.json`, the card.

    With `evaluate.auc_negatives` the report has the pooled AUC as well, and its curve is in `run/roc.csv` and `.png`.
    How frequent a label is (for bands and propensities) is counted over the queries that the run was trained on.
    Labels that were removed from the run do not count as positives; queries with no other positive are left out.
    Notes in the report say so, and also: when the split is the training split, when the data set has changed since
    training, and when training queries are in bags, so that frequencies are sums of shares.
    With `beside`, the folder of another run, that is asked the same queries and judged by the same options; nothing is
    written there.
    Raises: DataError when the data set has no such split, when none of its queries has a positive any more, when the
    index lacks one of its labels, and when other labels were removed from the run `beside`.
    """
    options = config.evaluate
    ask = partial(_asked, config, split=split, plugins=plugins, device=device, on_progress=on_progress)
    # First, so that what is wrong with it does not take a search to find out; and its index is let go before the next.
    other = None if beside is None else _measured(ask(beside), config, plugins)
    asked = ask(run)
    report = evaluate_hits(
        asked.hits,
        asked.positives,
        train_counts_L=asked.train_counts_L,
        train_queries=len(asked.data.train),
        options=options,
        extra_metrics=_metrics(plugins),
    )
    report = replace(report, notes=(*report.notes, *_notes(run, asked.data, split)))
    if top := options.auc_negatives:
        texts = asked.data.splits[split].texts
        auc = measure_separation(asked.retriever, texts, asked.deep_hits, asked.positives, top_negatives=top, run=run)
        report = replace(report, auc=auc)
    if beside is not None and other is not None:
        _require_same_labels(asked.data, other.data, beside)
        own = _measured(asked, config, plugins).measurement
        differences = figures_of(own, options, less=other.measurement)
        notes = (f"{beside}: {note}" for note in _notes(beside, other.data, split))
        report = replace(report, notes=tuple(dict.fromkeys((*report.notes, *notes))))
        report = replace(report, beside=Beside(str(beside), figures_of(other.measurement, options), differences))
    write_hits(run / "hits" / f"{split}.parquet", asked.data.splits[split].ids, asked.hits, asked.retriever.labels)
    write_json(run / "report.json", _to_dict(report, asked, split))
    write_card(run, plugins=plugins)
    return report


@dataclass(frozen=True)
class _Asked:
    """A run's hits for the queries of a split, and by what they are judged, in the rows of its index.

    `deep_hits` are all that were searched for, `hits` the first of them, as many as the largest k.
    """

    data: Dataset
    retriever: Retriever
    deep_hits: Hits
    hits: Hits
    positives: Positives
    train_counts_L: Any
    depth: int
    search_s: float


def _asked(config: RunConfig, run: Path, split: str, *, plugins: Plugins, device: str, on_progress: Progress) -> _Asked:
    data = without_removed(load_for_training(config), read_edits(run))
    queries = _queries_of(data, split)
    retriever = Retriever.load(run, device=device, plugins=plugins, warn=False)
    index_rows_L = index_rows(data, retriever)
    started = time.monotonic()
    shortlist = retriever.reranking.depth if retriever.reranking else 0
    depth = search_depth(config.evaluate, queries.positives, shortlist=shortlist)
    on_chunk = counting(partial(on_progress, "queries"), len(queries))
    deep_hits = search_texts(retriever, queries.texts, k=depth, on_chunk=on_chunk)
    search_s = time.monotonic() - started
    hits = first_hits(deep_hits, max(config.evaluate.ks))
    counts_L = train_counts(data, index_rows_L, labels=len(retriever.labels))
    positives = in_index(queries.positives, index_rows_L)
    return _Asked(data, retriever, deep_hits, hits, positives, counts_L, depth, search_s)


class _Measured(NamedTuple):
    """What a run is compared by: the data without what was removed from it, and every figure of each query."""

    data: Dataset
    measurement: Measurement


def _measured(asked: _Asked, config: RunConfig, plugins: Plugins) -> _Measured:
    measurement = measure_hits(
        asked.hits,
        asked.positives,
        train_counts_L=asked.train_counts_L,
        train_queries=len(asked.data.train),
        options=config.evaluate,
        extra_metrics=_metrics(plugins),
    )
    return _Measured(asked.data, measurement)


def _require_same_labels(data: Dataset, other: Dataset, run: Path) -> None:
    """Refuse to compare runs that are judged by different labels. Raises: DataError."""
    if differ := sorted({*data.labels.ids} ^ {*other.labels.ids}):
        raise DataError(
            f"labels were removed from one run and not from the other, {run}: {first_few(differ)}.",
            hint="Remove them from both, or put them back: xmc labels",
        )


def _metrics(plugins: Plugins) -> dict[str, Any]:
    return {offer.full_name: offer.load() for offer in plugins.offers["metric"]}


def _queries_of(data: Dataset, split: str) -> QueryTable:
    """The queries to judge by. Raises: DataError when there is no such split, or no positive in it."""
    queries = data.queries_of(split)
    require_positives(queries, split)
    return queries


def _notes(run: Path, data: Dataset, split: str) -> Iterator[str]:
    """What is to be known of figures on these queries."""
    if split == "train":
        yield "runs are trained on the split 'train': of other queries these figures say nothing"
    elif note := data_since_training(run, data):
        yield note
    if data.train.bag_ids is not None:
        yield OF_BAGS
    if data.splits[split].bag_ids is not None:
        yield f"the queries of '{split}' are in bags, and judged by the labels of their bag for want of their own"


def _to_dict(report: EvaluationReport, asked: _Asked, split: str) -> dict[str, Any]:
    data, retriever, search_s = asked.data, asked.retriever, asked.search_s
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
            "k": asked.depth,
            "seconds": round(search_s, 3),
            "queries_per_s": round(report.queries / max(search_s, 1e-9), 1),
            "index": retriever.report.backend,
            "exact": retriever.report.exact,
            "device_used": retriever.report.device_used,
        },
        "versions": versions(),
    }
