"""`xmc index` by goal: choose the index of a run on its held-out queries, commit it with the curve, keep the choice."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from xmc.api import QueryMap
from xmc.data.shards import write_table
from xmc.encode.encoder import Encoder, embed_texts
from xmc.engine.beside_committed import beside_committed
from xmc.engine.component import Component
from xmc.engine.environment import versions
from xmc.engine.indexing import commit_index, labels_to_index
from xmc.engine.pictures import write_picture
from xmc.engine.progress import Progress, say_nothing
from xmc.engine.run_config import RunConfig
from xmc.engine.training_set import load_for_training
from xmc.engine.tuning_queries import TuningTexts, tuning_texts
from xmc.given_numbers import whole_number
from xmc.plugin_manager import Plugins
from xmc.retrieve.reranking import NONE
from xmc.retrieve.trained_model import TrainedModel
from xmc.store import write_json, write_text
from xmc.tune.candidates import find_candidates
from xmc.tune.choose import Choice, TuningQueries, choose_index
from xmc.tune.goal import Goal
from xmc.tune.label_vectors import keep_vectors
from xmc.tune.picture import draw
from xmc.tune.report import curve, curve_csv, full_report, summary
from xmc.values import IndexReport

TUNING_FOLDER = "tuning"


@dataclass(frozen=True)
class Tuned:
    """What was chosen, and the report of the index that now is the run's (after a dry run: would be)."""

    choice: Choice
    index: IndexReport


def run_tuning(
    config: RunConfig,
    run: Path,
    goal: Goal,
    *,
    plugins: Plugins,
    device: str = "auto",
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress = say_nothing,
) -> Tuned:
    """Choose by goal among what the installed backends propose, and make it the run's current index.

    The choice is written into the run's configuration, so that `xmc index` builds the same again, and the curve into
    the folder `tuning` of the index version. With `dry_run` nothing is written. A run with a second stage is measured
    at the depth of its shortlist, if that is more than k. The same seed takes the same queries; what is chosen can
    differ from one time to the next where two settings are about as fast.
    Raises: ConfigError when no index serves the goal, naming the nearest, and for a seed below 0; as `run_indexing`.
    """
    seed = whole_number(seed, name="the seed", least=0)
    if config.second_stage != NONE:
        goal = replace(goal, k=max(goal.k, config.fusion.depth))
    texts = tuning_texts(load_for_training(config), seed=seed)
    indexed = labels_to_index(config, run, plugins=plugins)
    model = indexed.model
    vectors = keep_vectors(indexed.chunks, labels=len(indexed.labels), similarity=indexed.similarity, folder=run)
    candidates, refusals = find_candidates(plugins.offers["index"], labels=len(vectors), dimension=vectors.dimension)
    queries = _queries(model.encoder, indexed.query_map, texts)
    choice = choose_index(goal, candidates, vectors, queries, device=device, seed=seed, progress=progress)
    choice = replace(choice, refusals=tuple(refusals))
    facts = {"seed": seed, "threads": torch.get_num_threads(), "encoding_one_query_s": _encoding_s(model, texts)}
    query_weight = float(indexed.moves.get("query_weight", 0.0))
    report = replace(choice.index.report, choice={**summary(choice), **facts}, query_weight=query_weight)
    if not dry_run:
        config = replace(config, index=Component(choice.trial.candidate.name, choice.backend))
        fill = functools.partial(_write, choice, {**full_report(choice), **facts, "versions": versions()})
        commit_index(config, run, choice.index, report, indexed, plugins=plugins, fill=fill)
        with beside_committed(run, "index"):
            config.write(run)
    return Tuned(choice, report)


def _queries(encoder: Encoder, query_map: QueryMap | None, texts: TuningTexts) -> TuningQueries:
    def embedded(part: Sequence[str]) -> torch.Tensor:
        queries_QD = embed_texts(encoder, part, "query")
        return query_map.queries(queries_QD) if query_map else queries_QD

    return TuningQueries(embedded(texts.choosing), embedded(texts.judging), texts.source, texts.notes)


def _encoding_s(model: TrainedModel, texts: TuningTexts) -> float:
    """Median seconds of making the embedding of one query, which a search needs beside the index."""
    seconds = []
    for text in texts.choosing[:20]:
        started = time.perf_counter()
        embed_texts(model.encoder, [text], "query")
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[len(seconds) // 2]


def _write(choice: Choice, report: dict[str, Any], folder: Path) -> None:
    import pyarrow as pa

    folder = folder / TUNING_FOLDER
    folder.mkdir()
    write_json(folder / "report.json", report)
    write_table(folder / "curve.parquet", pa.table(curve(choice)))
    write_text(folder / "curve.csv", curve_csv(choice))
    write_picture(folder, "curve", draw(choice))
