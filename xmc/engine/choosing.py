"""Judge several runs by the log of what another policy showed, and write what was found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from xmc.choose.candidate import intervals
from xmc.choose.estimators import NEEDS_RANK_RATIOS, Array, Terms
from xmc.choose.judge import ChooseOptions, Scored, judge
from xmc.choose.log import ClickLog
from xmc.choose.picture import draw_choice
from xmc.choose.report import ChoiceReport, check_truths, portfolios_of
from xmc.engine.environment import versions
from xmc.engine.pictures import write_picture
from xmc.engine.progress import Progress, counting, say_nothing
from xmc.engine.separation import positive_scores
from xmc.errors import ConfigError, DataError
from xmc.retrieve.batch import search_texts
from xmc.retrieve.query_checks import MAX_K
from xmc.retrieve.retriever import Retriever
from xmc.store import write_json
from xmc.values import Hits, Positives


def choose(
    log: ClickLog,
    retrievers: Mapping[str, Retriever],
    options: ChooseOptions | None = None,
    *,
    truths: Mapping[str, float] | None = None,
    on_progress: Progress | None = None,
) -> ChoiceReport:
    """Judge each retriever as a policy over the candidates of the log (`xmc.choose.policy.Policy`).

    Raises: ConfigError without retrievers and for true values that cannot be; DataError when a run lacks a label of the
    log, or when no candidate can be judged (one among others is reported as refused).
    """
    options, truths = options or ChooseOptions(), truths or {}
    _check(log, retrievers, options, truths)
    scored = {name: score(log, name, retriever, on_progress or say_nothing) for name, retriever in retrievers.items()}
    found = judge(log, scored, options)
    if all(candidate.verdict == "refused" for candidate in found):
        raise DataError(found[0].refusal)
    rewards_Q = log.rewards_QK.sum(axis=1)
    terms = Terms(rewards_Q, np.ones(len(log)))
    behaviour = intervals({"": terms}, samples=options.samples, seed=options.seed)[""]
    return ChoiceReport(
        log={"rows": len(log), "queries": len(set(log.query_ids)), "ranks": log.ranks},
        behaviour=behaviour,
        options=options,
        candidates=found,
        truths=truths,
        portfolios=portfolios_of(found, truths, behaviour=behaviour.value),
        models={name: dict(each.identity) for name, each in scored.items()},
        versions=versions("scikit-learn"),
    )


def _check(
    log: ClickLog, retrievers: Mapping[str, Retriever], options: ChooseOptions, truths: Mapping[str, float]
) -> None:
    """Refuse what cannot be, before anything is searched. Raises: ConfigError, DataError."""
    if not retrievers:
        raise ConfigError("which runs?", hint="Give one or more: --run NAME=FOLDER")
    if options.estimator in NEEDS_RANK_RATIOS and log.rank_propensities_QK is None:
        raise DataError(f"{options.estimator} needs the column rank_propensities, which this log does not have.")
    check_truths(truths, list(retrievers))


def score(log: ClickLog, name: str, retriever: Retriever, on_progress: Progress = say_nothing) -> Scored:
    """Score the candidates of every row as the run does, second stage and all; a text that stands twice only once.

    An index that compresses its vectors scores its hits otherwise than the embeddings do. So a candidate that is no
    hit, whose score is that of the embeddings, stays below all hits, as it does in a search.
    Raises: DataError naming the row of a candidate that the run does not have.
    """
    label_rows_N = _label_rows(log, name, retriever)[log.codes_N]
    texts, text_Q = np.unique(np.asarray(log.texts, dtype=object), return_inverse=True)
    # a second stage is searched as deep as in use, for a longer shortlist would answer otherwise
    depth = max(log.ranks, retriever.reranking.depth if retriever.reranking else int(np.diff(log.offsets).max()))
    on_chunk = counting(partial(on_progress, name), len(texts))
    hits = search_texts(retriever, texts.tolist(), k=min(depth, len(retriever.labels), MAX_K), on_chunk=on_chunk)
    labels = len(retriever.labels)
    keys_P, pair_N = np.unique(np.repeat(text_Q, np.diff(log.offsets)) * labels + label_rows_N, return_inverse=True)
    offsets_T = np.searchsorted(keys_P, np.arange(len(texts) + 1) * labels)
    pairs = Positives(offsets_T, keys_P % labels, np.ones(len(keys_P), np.float32))
    scores_P = positive_scores(retriever, texts.tolist(), hits, pairs).astype(np.float64)
    scores_P = _below_hits(scores_P, pairs, hits, labels=labels)
    scores_QM = log.as_matrix(scores_P[pair_N], fill=-np.inf)
    return Scored(scores_QM, _outside(log, hits, text_Q, label_rows_N, labels=labels), retriever.identity)


def _below_hits(scores_P: Array, pairs: Positives, hits: Hits, *, labels: int) -> Array:
    """The scores, those of pairs that are no hits less than that of the last hit of their query."""
    counts_Q, rows_P = np.diff(hits.offsets), pairs.query_rows()
    last_Q = np.full(len(hits), np.inf)
    last_Q[counts_Q > 0] = hits.scores[hits.offsets[1:][counts_Q > 0] - 1]
    is_hit_P = np.isin(pairs.pair_keys(labels), hits.pair_keys(labels))
    return np.where(is_hit_P, scores_P, np.minimum(scores_P, np.nextafter(last_Q, -np.inf)[rows_P]))


def _outside(log: ClickLog, hits: Hits, text_Q: Array, label_rows_N: Array, *, labels: int) -> float:
    """The share of what the run would show, as many labels a row as the log did, that is no candidate of the row."""
    rows_Q, shown_Q = np.arange(len(log)), log.is_shown_QK.sum(axis=1)
    keys_N = np.repeat(rows_Q, np.diff(log.offsets)) * labels + label_rows_N
    missing = 0
    for rank in range(log.ranks):
        shows_Q = (rank < shown_Q) & (rank < np.diff(hits.offsets)[text_Q])
        places = hits.offsets[:-1][text_Q[shows_Q]] + rank
        missing += int((~np.isin(rows_Q[shows_Q] * labels + hits.label_rows[places], keys_N)).sum())
    return missing / int(shown_Q.sum())


def _label_rows(log: ClickLog, name: str, retriever: Retriever) -> Array:
    """The label row in the run of each label of the log."""
    row_of_id = {label_id: row for row, label_id in enumerate(retriever.labels.ids)}
    rows_L = np.array([row_of_id.get(label_id, -1) for label_id in log.label_ids], np.int64)
    unknown_N = rows_L[log.codes_N] < 0
    if unknown_N.any():
        place = int(np.flatnonzero(unknown_N)[0])
        row = int(np.searchsorted(log.offsets, place, side="right")) - 1
        raise DataError(
            f"run '{name}' has no label '{log.label_ids[log.codes_N[place]]}', a candidate of row {row}"
            f" ('{log.query_ids[row]}'), nor {int((rows_L < 0).sum()) - 1} more of the log.",
            hint="Leave such labels out of the log's candidates, or add them to the run: xmc labels add",
        )
    return rows_L


def write_choice(report: ChoiceReport, out: Path) -> None:
    """Write `out/report.json` and return against risk as `out/return-risk.png` and `.svg`."""
    out.mkdir(parents=True, exist_ok=True)
    write_picture(out, "return-risk", draw_choice(report))
    write_json(out / "report.json", report.to_dict())
