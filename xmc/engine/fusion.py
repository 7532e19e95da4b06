"""How the scores of two stages are added: the options, and the weights that rank held-out queries best."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from xmc.api import RerankQueries
from xmc.evaluate.ndcg import ndcg_at_k
from xmc.evaluate.relevance import relevant_at_ranks
from xmc.option_ranges import require_at_least
from xmc.ranking import first_hits
from xmc.retrieve.label_prior import LabelPrior
from xmc.retrieve.reranking import Reranking, fuse
from xmc.values import Hits, Positives

GRID = tuple(2.0 ** (step / 2) for step in range(-10, 9))


@dataclass(frozen=True)
class FusionOptions:
    """How the score of a second stage is fused with the first one's.

    `depth`: how many labels of the first stage, the best ones, are scored again. `negatives`: the reranker is fitted to
    the relevant labels of each training query, and to those among its so many best labels that are not relevant.
    `weight`: of the second score; 0 chooses the one that is best by nDCG at `k` on the dev split. `least_queries`: the
    second stage knows only labels with at least so many training queries; any other gets the mean second score.
    `prior`: of the logarithm of 1 + the training queries of a label, which is added as well, with a reranker or without
    one; `auto` chooses it as the weight. Labels that are asked for often gain, those never asked for lose.
    """

    depth: int = 30
    negatives: int = 40
    weight: float = 0.0
    k: int = 5
    least_queries: int = 0
    prior: float | Literal["auto"] = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "depth", "negatives", "k")
        require_at_least(0, self, "least_queries", "weight", *(() if self.prior == "auto" else ("prior",)))


@dataclass(frozen=True)
class FusionChoice:
    """The chosen weight and prior, and nDCG at k on the queries they were chosen on, without and with both."""

    weight: float
    prior: float
    ndcg_first: float
    ndcg_fused: float


def choose_fusion(
    reranking: Reranking,
    queries: RerankQueries,
    hits: Hits,
    positives: Positives,
    prior: LabelPrior,
    *,
    fusion: FusionOptions,
    labels: int,
) -> FusionChoice:
    """The weight and the prior with the best nDCG@k, if they are not set: one after the other until neither changes.

    Each is 0 or one of 19 between 1/32 and 16 times the ratio of the scores' spreads; 0 (the first stage alone) wins
    unless another one is better. `hits` are the first stage's shortlists; `prior` is of strength 1.
    """
    shortlist = first_hits(hits, reranking.depth)
    second_S, logs_S = reranking.second_scores(queries, shortlist), prior.of(shortlist.label_rows)
    counts_Q = positives.counts()

    @cache
    def quality(weights: tuple[float, float]) -> float:
        added_S = np.float32(weights[0]) * second_S + np.float32(weights[1]) * logs_S
        fused = fuse(hits, added_S, depth=reranking.depth, k=fusion.k)
        return float(ndcg_at_k(relevant_at_ranks(fused, positives, fusion.k, labels=labels), counts_Q, fusion.k).mean())

    weights = (fusion.weight,) if fusion.weight else _steps(shortlist.scores, second_S)
    strengths = _steps(shortlist.scores, logs_S) if fusion.prior == "auto" else (fusion.prior,)
    chosen, before = (weights[0], strengths[0]), None
    while before != chosen:
        before = chosen
        chosen = max(((weight, chosen[1]) for weight in weights), key=quality)
        chosen = max(((chosen[0], strength) for strength in strengths), key=quality)
    return FusionChoice(*chosen, quality((0.0, 0.0)), quality(chosen))


def _steps(first_S: np.ndarray[Any, Any], added_S: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """0, and what `added` scores are multiplied with; 0 alone where they are all the same, and so change no order."""
    spread = float(added_S.std())
    return (0.0, *(float(first_S.std()) / spread * step for step in GRID)) if spread else (0.0,)
