"""The second stage of a retriever: score the shortlist again and add that, weighted, to the first score.

score = first + weight x second + prior      for the best `depth` labels of the first stage
score = first + shift                        for the others, which stay below these in the order they had

The prior is what a label gets for how often it was asked for in training; where none is asked for, there is none.

A label that the second stage was not fitted to (added or replaced since, or with fewer training queries than it asks
for) has in place of a second score the mean one of the labels that it knows, on first shortlists. A reranker that knows
labels by their texts alone knows those that came since, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import ArtifactError, Hits, NonFiniteError, TextReranker, rank_hits
from xmc.data.tables import LabelTable, read_labels
from xmc.errors import quoted
from xmc.ranking import first_hits
from xmc.retrieve.label_prior import LabelPrior, load_prior
from xmc.retrieve.label_sets import keep_hits
from xmc.retrieve.layout import reranker_store
from xmc.retrieve.no_reranker import NoReranker
from xmc.retrieve.run_plugins import recorded_options

if TYPE_CHECKING:
    from xmc.api import Reranker, RerankQueries
    from xmc.plugin_manager import Plugins
    from xmc.store.versions import Version

BACKEND_FOLDER = "reranker"
LABELS_FILE = "labels.parquet"
NONE = "none"


@dataclass(frozen=True)
class Reranking:
    """A fitted reranker with the depth of its shortlist and its weight beside the first score.

    `fitted_rows_L` has for each label row that of the labels it was fitted to, -1 for one it does not know; None where
    they are the same. `neutral` is what a label has that it does not know.
    """

    reranker: Reranker
    depth: int
    weight: float
    sha256: str = ""
    neutral: float = 0.0
    fitted_rows_L: np.ndarray[Any, Any] | None = None
    prior: LabelPrior | None = None

    @property
    def reads_texts(self) -> bool:
        """Whether the second stage needs the texts of queries; a prior alone does not."""
        return not isinstance(self.reranker, NoReranker)

    def rerank(self, queries: RerankQueries, hits: Hits, k: int) -> Hits:
        """The best k hits of each query; `hits` are the first stage's, at least `depth` of them where there are."""
        return fuse(hits, self._added(queries, first_hits(hits, self.depth)), depth=self.depth, k=k)

    def shifts(self, queries: RerankQueries, hits: Hits) -> np.ndarray[Any, Any]:
        """What the score of a label beyond the shortlist gets on top, (Q,): 0 for a query without hits."""
        shortlist = first_hits(hits, self.depth)
        return _shifts(shortlist, shortlist.scores + self._added(queries, shortlist))

    def _added(self, queries: RerankQueries, shortlist: Hits) -> np.ndarray[Any, Any]:
        """What is added to the first scores of a shortlist, (H,) float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            added_H = np.float32(self.weight) * self.second_scores(queries, shortlist)
            if self.prior is not None:
                added_H = added_H + self.prior.of(shortlist.label_rows)
        if not np.isfinite(added_H).all():
            strength = self.prior.strength if self.prior else 0.0
            raise NonFiniteError(
                f"the second stage's scores are not finite: its weight is {self.weight:g}, the prior {strength:g}.",
                hint="Fit it again with a smaller --set fusion.weight or fusion.prior.",
            )
        return added_H

    def second_scores(self, queries: RerankQueries, hits: Hits) -> np.ndarray[Any, Any]:
        """The reranker's scores, (H,) float32. Raises: NonFiniteError when one is not finite."""
        if self.fitted_rows_L is None:
            scores_H = np.asarray(self.reranker.scores(queries, hits), np.float32)
        else:
            rows_H = self.fitted_rows_L[hits.label_rows]
            known = keep_hits(replace(hits, label_rows=rows_H), rows_H >= 0)
            scores_H = np.full(len(rows_H), self.neutral, np.float32)
            scores_H[rows_H >= 0] = self.reranker.scores(queries, known)
        if not np.isfinite(scores_H).all():
            place = int(np.flatnonzero(~np.isfinite(scores_H))[0])
            query = int(np.searchsorted(hits.offsets, place, side="right")) - 1
            raise NonFiniteError(f"the reranker's score of query {query} is not finite.")
        return scores_H


def fuse(hits: Hits, added_S: np.ndarray[Any, Any], *, depth: int, k: int) -> Hits:
    """The best k hits of each query by their score and what is `added` to that of the first `depth` of each query.

    Shapes: `added_S` (S,), one for each hit of `first_hits(hits, depth)`.
    """
    shortlist = first_hits(hits, depth)
    fused_S = shortlist.scores + added_S
    query_rows_H = hits.query_rows()
    ranks_H = np.arange(len(hits.label_rows)) - hits.offsets[:-1][query_rows_H]
    scores_H = hits.scores + _shifts(shortlist, fused_S)[query_rows_H]
    scores_H[ranks_H < depth] = fused_S
    return rank_hits(query_rows_H, hits.label_rows, scores_H, queries=len(hits), k=k)


def _shifts(shortlist: Hits, fused_H: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Lowest fused score of each query minus lowest first score, (Q,) float32."""
    shifts_Q = np.zeros(len(shortlist), np.float32)
    answered = np.flatnonzero(np.diff(shortlist.offsets))
    if len(answered):
        starts, last = shortlist.offsets[answered], shortlist.offsets[answered + 1] - 1
        shifts_Q[answered] = np.minimum.reduceat(fused_H, starts) - shortlist.scores[last]
    return shifts_Q


def load_reranking(
    run: Path,
    encoder_sha256: str,
    labels: LabelTable,
    *,
    expected: str,
    plugins: Plugins,
    labels_may_differ: bool = False,
) -> Reranking | None:
    """The second stage of a run, None when it has none, or one of prior 0 without a reranker.

    `expected` names the one it was configured with, or `none`.

    Raises: ArtifactError when the expected one was never fitted, when it was fitted to another encoder or other labels
    (unless these may differ, because they were edited), or is damaged.
    """
    store = reranker_store(run)
    if not store.exists():
        if expected == NONE:
            return None
        raise ArtifactError(
            f"{run} was configured with the second stage '{expected}', which was never fitted.",
            hint=f"Fit it: xmc rerank --run {quoted(run)}",
        )
    version = store.current()
    facts = version.manifest.facts
    if not scores_again(version):
        return None
    differs = facts["labels_sha256"] != labels_identity(labels)
    path = version.folder / LABELS_FILE
    if facts["encoder_sha256"] != encoder_sha256 or (differs and not (labels_may_differ and path.is_file())):
        raise ArtifactError(
            f"the second stage of {run} was fitted to another encoder or other labels than are there now.",
            hint=f"Fit it again: xmc rerank --run {quoted(run)}",
        )
    options = recorded_options(plugins, "reranker", facts)
    reranker = options.load(version.folder / BACKEND_FOLDER)
    some = facts.get("labels", len(labels)) < len(labels)
    rows_L = _rows_in(read_labels([path]), labels) if some or (labels_may_differ and path.is_file()) else None
    if rows_L is not None and facts.get("fitted_to_all") and isinstance(reranker, TextReranker):
        reranker, rows_L = reranker.for_labels(rows_L, labels.texts), None
    strength, prior = float(facts.get("prior", 0.0)), None
    if strength:
        prior = load_prior(version.folder, labels, strength=strength, neutral=float(facts["neutral_log_queries"]))
    return Reranking(
        reranker,
        int(facts["depth"]),
        float(facts["weight"]),
        version.sha256,
        float(facts.get("neutral", 0.0)),
        rows_L,
        prior,
    )


def scores_again(version: Version) -> bool:
    """Whether a committed second stage changes any score: it has a reranker, or a prior that is not 0."""
    return version.manifest.facts["name"] != NONE or bool(version.manifest.facts.get("prior"))


def _rows_in(fitted: LabelTable, labels: LabelTable) -> np.ndarray[Any, Any]:
    """For each label its row among those that the reranker was fitted to, -1 where id and text are not there."""
    row_of = {pair: row for row, pair in enumerate(zip(fitted.ids, fitted.texts, strict=True))}
    return np.array([row_of.get(pair, -1) for pair in zip(labels.ids, labels.texts, strict=True)], dtype=np.int64)


def labels_identity(labels: LabelTable) -> str:
    """A hash of the label ids in their order: what a reranker's label rows mean."""
    return sha256("\0".join(labels.ids).encode()).hexdigest()
