"""How the scores of two stages are added: the options, and the weight that ranks held-out queries best."""

from __future__ import annotations

from dataclasses import dataclass

from xmc.api import RerankQueries
from xmc.evaluate.ndcg import ndcg_at_k
from xmc.evaluate.relevance import relevant_at_ranks
from xmc.option_ranges import require_at_least
from xmc.retrieve.reranking import Reranking, fuse
from xmc.values import Hits, Positives

GRID = tuple(2.0 ** (step / 2) for step in range(-10, 9))


@dataclass(frozen=True)
class FusionOptions:
    """How a reranker's score is fused with the first stage's.

    `depth`: how many labels of the first stage, the best ones, are scored again. `negatives`: the reranker is fitted to
    the relevant labels of each training query, and to those among its so many best labels that are not relevant.
    `weight`: of the second score; 0 chooses the one that is best by nDCG at `k` on the dev split. `least_queries`: the
    second stage knows only labels with at least so many training queries; any other gets the mean second score.
    """

    depth: int = 30
    negatives: int = 40
    weight: float = 0.0
    k: int = 5
    least_queries: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "depth", "negatives", "k")
        require_at_least(0, self, "least_queries", "weight")


@dataclass(frozen=True)
class WeightChoice:
    """The chosen weight, and nDCG at k on the queries it was chosen on, without and with the second stage."""

    weight: float
    ndcg_first: float
    ndcg_fused: float


def choose_weight(
    reranking: Reranking, queries: RerankQueries, hits: Hits, positives: Positives, *, k: int, labels: int
) -> WeightChoice:
    """The weight with the best nDCG@k among 19 between 1/32 and 16 times the ratio of the scores' spreads, or 0.

    `hits` are the first stage's shortlists. A weight of 0 (the first stage alone) wins unless another one is better.
    """
    second_H = reranking.second_scores(queries, hits)
    unit = float(hits.scores.std()) / (float(second_H.std()) or 1.0)

    def quality(weight: float) -> float:
        fused = fuse(hits, second_H, depth=reranking.depth, weight=weight, k=k)
        return float(ndcg_at_k(relevant_at_ranks(fused, positives, k, labels=labels), positives.counts(), k).mean())

    first = quality(0.0)
    best, weight = max(((quality(unit * step), unit * step) for step in GRID), key=lambda pair: pair[0])
    return WeightChoice(weight, first, best) if best > first else WeightChoice(0.0, first, first)
