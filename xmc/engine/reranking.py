"""Fit the second stage of a run: shortlists of the training queries, the reranker, its weight on the dev split."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xmc.api import Hits, RerankContext, RerankQueries
from xmc.data.dataset import Dataset
from xmc.data.shards import write_table
from xmc.data.tables import QueryTable, label_table_to_arrow
from xmc.engine.carried import Carried
from xmc.engine.fusion import WeightChoice, choose_weight
from xmc.engine.index_rows import in_index, index_rows
from xmc.engine.model_card import write_card
from xmc.engine.progress import Progress, counting, say_nothing
from xmc.engine.removed_labels import require_positives, without_removed
from xmc.engine.reranked_labels import RerankedLabels
from xmc.engine.run_config import RunConfig
from xmc.engine.training_set import validation_queries
from xmc.errors import ConfigError, quoted
from xmc.plugin_manager import Plugins
from xmc.retrieve.batch import search_queries
from xmc.retrieve.label_edits import read_edits
from xmc.retrieve.label_sets import keep_hits
from xmc.retrieve.layout import reranker_store
from xmc.retrieve.reranking import BACKEND_FOLDER, LABELS_FILE, NONE, Reranking, labels_identity
from xmc.retrieve.retriever import Retriever
from xmc.store import write_json

NEUTRAL_QUERIES = 1000


def run_reranking(
    config: RunConfig,
    run: Path,
    *,
    plugins: Plugins,
    device: str = "auto",
    progress: Progress = say_nothing,
    carried: Carried | None = None,
) -> dict[str, Any]:
    """Fit the reranker of `[reranker]` over the run's encoder and index and commit it; a report (`run/rerank.json`).

    Raises: ConfigError when `[reranker]` names none, or the weight is to be chosen and there is no dev split; DataError
    when the labels of all queries that it needs were removed.
    """
    if config.reranker.name == NONE:
        installed = ", ".join(offer.full_name for offer in plugins.offers["reranker"] if offer.full_name != NONE)
        raise ConfigError(
            f"no reranker is named: [reranker] of {run} has the name '{NONE}'.",
            hint=f"Name one: xmc rerank --run {quoted(run)} --set reranker.name=NAME. Installed: {installed}.",
        )
    started = time.monotonic()
    carried = carried or Carried()
    first = Retriever.load(run, device=device, plugins=plugins, reranked=False, warn=False)
    data = without_removed(carried.load(config), read_edits(run))
    require_positives(data.train, "train")
    truth = in_index(data.train.positives, index_rows(data, first))
    if carried.train_features is None:
        queries = first.prepare(data.train.texts)
    else:
        queries = RerankQueries(data.train.texts, carried.train_features)
    known = RerankedLabels.of(first.labels, truth, least_queries=config.fusion.least_queries)
    most = min(config.fusion.negatives, len(known.table))
    on_chunk = counting(partial(progress, "shortlists"), len(queries))
    hits = search_queries(first, queries, k=most, on_chunk=on_chunk, allowed=known.allowed)
    context = RerankContext(
        queries, known.positives(truth), known.hits(hits), known.table.texts, seed=config.train.seed
    )
    reranker = config.reranker.options.fit(context, progress=partial(progress, "fitting"))
    reranking = Reranking(reranker, config.fusion.depth, config.fusion.weight, fitted_rows_L=known.rows_L)
    reranking = replace(reranking, neutral=_mean_score(reranking, first, queries, hits))
    choice = None if config.fusion.weight else _choose(config, data, first, reranking)
    reranking = replace(reranking, weight=choice.weight if choice else config.fusion.weight)
    _commit(config, run, first, reranking, known)
    config.write_plugins(run, "reranker", plugins=plugins)
    report = {
        "reranker": config.reranker.name,
        "labels": len(known.table),
        "depth": reranking.depth,
        "weight": reranking.weight,
        "chosen": asdict(choice) if choice else None,
        "fit_s": round(time.monotonic() - started, 3),
    }
    write_json(run / "rerank.json", report)
    write_card(run, plugins=plugins)
    return report


def require_second_stage(config: RunConfig, data: Dataset) -> None:
    """Refuse a second stage that cannot be fitted to this data, which is known before anything is trained.

    Raises: ConfigError, DataError.
    """
    if config.reranker.name != NONE:
        RerankedLabels.of(data.labels, data.train.positives, least_queries=config.fusion.least_queries)
        if not config.fusion.weight:
            _held_out(config, data)


def _held_out(config: RunConfig, data: Dataset) -> QueryTable:
    held_out = validation_queries(data, config)
    if held_out is None:
        raise ConfigError(
            "the weight of the reranker is chosen on a dev split, and there is none.",
            hint="Set the weight itself: --set fusion.weight=1.0. Or train anew with train.validation_share > 0.",
        )
    require_positives(held_out, "dev" if data.dev else "train")
    return held_out


def _choose(config: RunConfig, data: Dataset, first: Retriever, reranking: Reranking) -> WeightChoice:
    held_out = _held_out(config, data)
    queries = first.prepare(held_out.texts)
    hits = search_queries(first, queries, k=min(reranking.depth, len(first.labels)))
    positives = in_index(held_out.positives, index_rows(data, first))
    labels = len(first.labels)
    return choose_weight(reranking, queries, hits, positives, k=config.fusion.k, labels=labels)


def _mean_score(reranking: Reranking, first: Retriever, queries: RerankQueries, hits: Hits) -> float:
    """The mean second score of the labels that it knows on first shortlists: what any other label gets.

    `hits` are the shortlists of `queries` that it was fitted to. Where it knows some labels only, they are of these
    alone, while a search brings others as well: then it is shortlists as a search makes them, without the others.
    """
    count = min(len(hits), NEUTRAL_QUERIES)
    some = RerankQueries(queries.texts[:count], queries.features.take(np.arange(count)))
    rows_L = reranking.fitted_rows_L
    if rows_L is None:
        shortlist = hits.take(np.arange(count))
    else:
        shortlist = search_queries(first, some, k=min(reranking.depth, len(first.labels)))
        shortlist = keep_hits(shortlist, rows_L[shortlist.label_rows] >= 0)
    scores_H = reranking.second_scores(some, shortlist)
    return float(scores_H.mean(dtype=np.float64)) if len(scores_H) else 0.0


def _commit(config: RunConfig, run: Path, first: Retriever, reranking: Reranking, known: RerankedLabels) -> None:
    section = config.reranker.to_dict()
    facts = {
        "name": section.pop("name"),
        "options": section,
        "depth": reranking.depth,
        "weight": reranking.weight,
        "encoder_sha256": first.model.sha256,
        "labels_sha256": labels_identity(first.labels),
        "neutral": reranking.neutral,
        "labels": len(known.table),
    }
    with reranker_store(run).new_version(facts=facts) as folder:
        write_table(folder / LABELS_FILE, label_table_to_arrow(known.table))
        (folder / BACKEND_FOLDER).mkdir()
        reranking.reranker.save(folder / BACKEND_FOLDER)
