"""Fit the second stage of a run: shortlists of the training queries, the reranker, its weight on the dev split."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xmc.api import RerankContext, Reranker, RerankQueries
from xmc.data.dataset import Dataset
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, QueryTable, label_table_to_arrow
from xmc.engine.beside_committed import beside_committed
from xmc.engine.carried import Carried
from xmc.engine.fusion import FusionChoice, choose_fusion
from xmc.engine.index_rows import among, in_index, index_rows, same_labels
from xmc.engine.model_card import write_card
from xmc.engine.progress import Progress, counting, say_nothing
from xmc.engine.removed_labels import require_positives, without_removed
from xmc.engine.reranked_labels import RerankedLabels
from xmc.engine.run_config import RunConfig
from xmc.engine.training_set import validation_queries
from xmc.errors import ArtifactError, ConfigError, XmcWarning, quoted
from xmc.plugin_manager import Plugins
from xmc.retrieve.batch import search_queries
from xmc.retrieve.label_edits import read_edits
from xmc.retrieve.label_prior import LabelPrior
from xmc.retrieve.label_sets import keep_hits
from xmc.retrieve.layout import reranker_store
from xmc.retrieve.no_reranker import NoReranker
from xmc.retrieve.reranking import BACKEND_FOLDER, LABELS_FILE, NONE, Reranking, labels_identity, scores_again
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.run_state import query_weight_of
from xmc.store import write_json
from xmc.values import Hits, Positives

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
    """Fit the second stage over the run's encoder and index and commit it; a report (`run/rerank.json`).

    It is the reranker of `[reranker]`, the prior of `[fusion]`, or both. Where there is neither, the run is from now on
    searched without the second stage that it has. Raises: ConfigError when it has none, or one of their weights is to
    be chosen and there is no dev split; DataError when the labels of all queries that it needs were removed.
    """
    if config.second_stage == NONE and not reranker_store(run).exists():
        installed = ", ".join(offer.full_name for offer in plugins.offers["reranker"] if offer.full_name != NONE)
        raise ConfigError(
            f"no reranker is named: [reranker] of {run} has the name '{NONE}', and [fusion] asks for no prior.",
            hint=f"Name one: xmc rerank --run {quoted(run)} --set reranker.name=NAME. Installed: {installed}. Or let"
            " labels gain that are asked for often: --set fusion.prior=auto",
        )
    started = time.monotonic()
    carried = carried or Carried()
    first = Retriever.load(run, device=device, plugins=plugins, reranked=False, warn=False)
    data = without_removed(carried.load(config), read_edits(run))
    index_rows(data, first)  # which refuses data with labels that the index lacks
    truth = among(data.train.positives, same_labels(data.labels, first.labels))
    require_positives(replace(data.train, positives=truth), "train")
    if carried.train_features is None:
        queries = first.prepare(data.train.texts)
    else:
        queries = RerankQueries(data.train.texts, carried.train_features)
    known = _known(config, first.labels, truth)
    reranker = NoReranker() if config.reranker.name == NONE else _fitted(config, first, queries, truth, known, progress)
    reranking = Reranking(reranker, config.fusion.depth, config.fusion.weight, fitted_rows_L=known.rows_L)
    prior = LabelPrior(np.bincount(truth.label_rows, minlength=len(first.labels)))
    reranking, prior = _with_neutral(reranking, prior, first, queries)
    choice = _choose(config, data, first, reranking, prior) if _to_choose(config) else None
    if choice:
        reranking, prior = replace(reranking, weight=choice.weight), replace(prior, strength=choice.prior)
    else:
        prior = replace(prior, strength=float(config.fusion.prior))
    reranking = replace(reranking, prior=prior if prior.strength else None)
    _commit(config, run, first, reranking, known)
    report = {
        "reranker": config.reranker.name,
        "labels": len(known.table),
        "depth": reranking.depth,
        "weight": reranking.weight,
        "prior": prior.strength,
        "chosen": asdict(choice) if choice else None,
        "fit_s": round(time.monotonic() - started, 3),
    }
    with beside_committed(run, "rerank"):
        config.write_plugins(run, "reranker", plugins=plugins)
        write_json(run / "rerank.json", report)
    write_card(run, plugins=plugins)
    return report


def _known(config: RunConfig, labels: LabelTable, truth: Positives) -> RerankedLabels:
    """The labels that the reranker is fitted to; a prior needs nothing but counts, and knows all."""
    least = 0 if config.reranker.name == NONE else config.fusion.least_queries
    return RerankedLabels.of(labels, truth, least_queries=least)


def _fitted(
    config: RunConfig,
    first: Retriever,
    queries: RerankQueries,
    truth: Positives,
    known: RerankedLabels,
    progress: Progress,
) -> Reranker:
    """The reranker, fitted to the training queries and their shortlists."""

    def find_shortlist() -> Hits:
        most = min(config.fusion.negatives, len(known.table))
        on_chunk = counting(partial(progress, "shortlists"), len(queries))
        return known.hits(search_queries(first, queries, k=most, on_chunk=on_chunk, allowed=known.allowed))

    context = RerankContext(queries, known.positives(truth), find_shortlist, known.table.texts, seed=config.train.seed)
    return config.reranker.options.fit(context, progress=partial(progress, "fitting"))


def require_second_stage(config: RunConfig, data: Dataset) -> None:
    """Refuse a second stage that cannot be fitted to this data, which is known before anything is trained.

    Raises: ConfigError, DataError.
    """
    if config.second_stage != NONE:
        _known(config, data.labels, data.train.positives)
        if _to_choose(config):
            _held_out(config, data)


def committed_settings(run: Path) -> dict[str, Any]:
    """[reranker] and [fusion] of the second stage that is there, as it notes them; nothing where there is none."""
    with suppress(ArtifactError):  # it is damaged or gone, and `config.toml` must do
        if reranker_store(run).exists():
            facts = reranker_store(run).current(only=()).manifest.facts
            return dict(facts.get("settings", {}))
    return {}


def warn_of_other_settings(config: RunConfig, written: RunConfig, run: Path) -> None:
    """An XmcWarning where `config.toml` asks for another second stage than the one that is there, which wins."""
    if (config.reranker, config.fusion) != (written.reranker, written.fusion):
        warnings.warn(
            f"[reranker] or [fusion] in config.toml of {run} are not those of the second stage that is there, which "
            "are taken: a command was killed, or the file edited. To have others: --set",
            XmcWarning,
            stacklevel=3,
        )


def warn_of_other_moves(run: Path) -> None:
    """An XmcWarning where the second stage was weighed beside the scores of labels that were moved otherwise."""
    with suppress(ArtifactError):  # damage is told by whoever opens the run
        if not reranker_store(run).exists():
            return
        stage = reranker_store(run).current()
        then, now = stage.manifest.facts.get("query_weight"), query_weight_of(run)
        if scores_again(stage) and then is not None and then != now:
            warnings.warn(
                f"the second stage of {run} was fitted beside labels of query weight {then:g}, which is {now:g} now: "
                f"its weights are those for other scores. Fit it again: xmc rerank --run {quoted(run)}",
                XmcWarning,
                stacklevel=3,
            )


def _to_choose(config: RunConfig) -> bool:
    return config.fusion.prior == "auto" or (config.reranker.name != NONE and not config.fusion.weight)


def _held_out(config: RunConfig, data: Dataset) -> QueryTable:
    held_out = validation_queries(data, config)
    if held_out is None:
        raise ConfigError(
            "the weight of the second stage is chosen on a dev split, and there is none.",
            hint="Set it yourself: --set fusion.weight=1.0, of a prior --set fusion.prior=0.02. Or train anew with"
            " train.validation_share > 0.",
        )
    require_positives(held_out, "dev" if data.dev else "train")
    return held_out


def _choose(
    config: RunConfig, data: Dataset, first: Retriever, reranking: Reranking, prior: LabelPrior
) -> FusionChoice:
    held_out = _held_out(config, data)
    queries = first.prepare(held_out.texts)
    labels = len(first.labels)
    hits = search_queries(first, queries, k=min(reranking.depth, labels))
    positives = in_index(held_out.positives, index_rows(data, first))
    return choose_fusion(reranking, queries, hits, positives, prior, fusion=config.fusion, labels=labels)


def _with_neutral(
    reranking: Reranking, prior: LabelPrior, first: Retriever, queries: RerankQueries
) -> tuple[Reranking, LabelPrior]:
    """Both with what a label gets that they do not know: the mean over the others on first shortlists."""
    count = min(len(queries), NEUTRAL_QUERIES)
    some = RerankQueries(queries.texts[:count], queries.features.take(np.arange(count)))
    shortlist = search_queries(first, some, k=min(reranking.depth, len(first.labels)))
    prior = replace(prior, neutral=_mean(prior.of(shortlist.label_rows)))
    if reranking.fitted_rows_L is not None:
        shortlist = keep_hits(shortlist, reranking.fitted_rows_L[shortlist.label_rows] >= 0)
    return replace(reranking, neutral=_mean(reranking.second_scores(some, shortlist))), prior


def _mean(values: np.ndarray[Any, Any]) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else 0.0


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
        "fitted_to_all": len(known.table) == len(first.labels),
        "query_weight": first.report.query_weight,
        "settings": {"reranker": config.reranker.to_dict(), "fusion": asdict(config.fusion)},
    }
    if reranking.prior:
        facts |= {"prior": reranking.prior.strength, "neutral_log_queries": reranking.prior.neutral}
    with reranker_store(run).new_version(facts=facts) as folder:
        write_table(folder / LABELS_FILE, label_table_to_arrow(known.table))
        (folder / BACKEND_FOLDER).mkdir()
        reranking.reranker.save(folder / BACKEND_FOLDER)
        if reranking.prior:
            reranking.prior.save(folder, first.labels)
