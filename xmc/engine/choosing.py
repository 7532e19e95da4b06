"""Judge several runs by the log of what another policy showed, and write what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xmc.choose.candidate import CandidateReport, intervals, judge_candidate
from xmc.choose.estimators import ESTIMATORS, NEEDS_RANK_RATIOS, Array, Terms
from xmc.choose.evidence import gather
from xmc.choose.log import ClickLog
from xmc.choose.picture import draw_choice
from xmc.choose.policy import Policy
from xmc.choose.report import ChoiceReport, portfolios_of
from xmc.choose.reward_model import predict_rewards
from xmc.engine.check_report import write_picture
from xmc.engine.environment import versions
from xmc.engine.separation import positive_scores
from xmc.errors import ConfigError, DataError, did_you_mean
from xmc.retrieve.batch import search_texts
from xmc.retrieve.retriever import Retriever
from xmc.store import write_json
from xmc.values import Positives

Progress = Callable[[str, int, int], None]  # name of the run, done, total
SAMPLES = 1000


@dataclass(frozen=True)
class Scored:
    """The candidates of the log as one run scores them, and what it would show that is none of them (a share)."""

    scores_QM: Array
    outside: float
    identity: Mapping[str, str]


def choose(
    log: ClickLog,
    retrievers: Mapping[str, Retriever],
    *,
    temperature: float = 0.0,
    estimator: str = "cascade-dr",
    truths: Mapping[str, float] | None = None,
    most_weight: float | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ChoiceReport:
    """Judge each retriever as a policy over the candidates of the log (`xmc.choose.policy.Policy`).

    `most_weight` is where weights are clipped, the square root of the number of rows unless given.
    Raises: ConfigError for options that cannot be; DataError when a run lacks a label of the log, or when no candidate
    can be judged (one among others is reported as refused).
    """
    check_options(log, retrievers, temperature=temperature, estimator=estimator, truths=truths or {})
    scored = {name: score(log, name, retriever, on_progress) for name, retriever in retrievers.items()}
    predictions = predict_rewards(log, [each.scores_QM for each in scored.values()])
    clip = math.sqrt(len(log)) if most_weight is None else most_weight
    found: list[CandidateReport] = []
    for name, each in scored.items():
        evidence = gather(log, Policy(each.scores_QM, temperature), predictions, most_weight=clip, seed=seed)
        try:
            judged = judge_candidate(
                name, evidence, estimator=estimator, outside=each.outside, samples=samples, seed=seed
            )
        except DataError as error:
            judged = CandidateReport(name, "refused", refusal=str(error))
        found.append(judged)
    if all(candidate.verdict == "refused" for candidate in found):
        raise DataError(found[0].refusal)
    rewards_Q = log.rewards_QK.sum(axis=1)
    behaviour = intervals({"": Terms(rewards_Q, np.ones(len(log)))}, samples=samples, seed=seed)[""]
    return ChoiceReport(
        log={"rows": len(log), "queries": len(set(log.query_ids)), "ranks": log.ranks},
        behaviour=behaviour,
        estimator=estimator,
        temperature=temperature,
        candidates=tuple(found),
        truths=dict(truths or {}),
        portfolios=portfolios_of(found, truths or {}, behaviour=behaviour.value),
        about={
            "models": {name: dict(each.identity) for name, each in scored.items()},
            "most_weight": clip,
            "versions": versions("scikit-learn"),
        },
    )


def check_options(
    log: ClickLog, runs: Mapping[str, Any], *, temperature: float, estimator: str, truths: Mapping[str, float]
) -> None:
    """Refuse what cannot be, before anything is searched. Raises: ConfigError, DataError."""
    if not runs:
        raise ConfigError("which runs?", hint="Give one or more: --run NAME=FOLDER")
    if not 0 <= temperature < math.inf:
        raise ConfigError(f"the temperature must be 0 or a finite number above, got {temperature}.")
    if estimator not in ESTIMATORS:
        hint = did_you_mean(estimator, ESTIMATORS) or f"There are: {', '.join(ESTIMATORS)}."
        raise ConfigError(f"there is no estimator '{estimator}'.", hint=hint)
    if estimator in NEEDS_RANK_RATIOS and log.rank_propensities_QK is None:
        raise DataError(f"{estimator} needs the column rank_propensities, which this log does not have.")
    for name, value in truths.items():
        if not math.isfinite(value):
            raise ConfigError(f"the true value of '{name}' must be a finite number, got {value}.")


def score(log: ClickLog, name: str, retriever: Retriever, on_progress: Progress | None = None) -> Scored:
    """Score the candidates of every row as the run does, second stage and all.

    Raises: DataError naming the row of a candidate that the run does not have.
    """
    rows_L = _label_rows(log, name, retriever)
    label_rows_N = rows_L[log.codes_N]
    depth = max(log.ranks, retriever.reranking.depth if retriever.reranking else 1)
    done = 0

    def on_chunk(count: int) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(name, done, len(log))

    hits = search_texts(retriever, log.texts, k=min(depth, len(retriever.labels)), on_chunk=on_chunk)
    pairs = Positives(log.offsets, label_rows_N, np.ones(len(label_rows_N), np.float32))
    scores_N = positive_scores(retriever, log.texts, hits, pairs)
    counts_Q = np.diff(hits.offsets)
    ranks_H = np.arange(len(hits.label_rows)) - np.repeat(hits.offsets[:-1], counts_Q)
    query_rows_H = np.repeat(np.arange(len(log)), counts_Q)
    would_show_H = ranks_H < log.is_shown_QK.sum(axis=1)[query_rows_H]
    labels = len(retriever.labels)
    known_H = np.isin(query_rows_H * labels + hits.label_rows, pairs.query_rows() * labels + label_rows_N)
    outside = float((~known_H[would_show_H]).mean())
    return Scored(log.as_matrix(scores_N.astype(np.float64), fill=-np.inf), outside, retriever.identity)


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
    picture = draw_choice(report)
    for suffix in ("png", "svg"):
        write_picture(out / f"return-risk.{suffix}", picture)
    write_json(out / "report.json", report.to_dict())
