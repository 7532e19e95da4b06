"""The two stages of a search: encoder and index, then the reranker where there is one. From texts to label rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from xmc.api import ConfigError, DataError, Hits, IndexReport, QueryMap, RerankQueries
from xmc.retrieve.hit_check import require_hits
from xmc.retrieve.label_filter import LabelFilter, as_filter
from xmc.retrieve.query_checks import check_k, check_texts
from xmc.retrieve.reranking import Reranking
from xmc.retrieve.trained_model import TrainedModel

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index
    from xmc.data.tables import LabelTable
    from xmc.encode.encoder import Encoder


@dataclass(frozen=True)
class Stages:
    """A trained encoder with the index over its labels, and a second stage or none."""

    model: TrainedModel
    index: Index
    labels: LabelTable
    query_map: QueryMap | None = None
    reranking: Reranking | None = None

    @property
    def encoder(self) -> Encoder:
        """The text encoder."""
        return self.model.encoder

    @property
    def report(self) -> IndexReport:
        """What the index is."""
        return self.index.report

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Query embeddings (Q, D) of texts.

        Raises: DataError naming the first text that is not a non-blank string of valid Unicode.
        """
        check_texts(texts)
        return self.embed(self.prepare(texts))

    def hits(self, texts: Sequence[str], *, k: int = 10, allowed: Iterable[str] | LabelFilter | None = None) -> Hits:
        """The best k label rows of each text (rows of `labels`), after the second stage where there is one.

        Raises: as `Retriever.search`.
        """
        check_texts(texts)
        return self.hits_of(self.prepare(texts), k=k, allowed=as_filter(self.labels, allowed))

    def prepare(self, texts: Sequence[str]) -> RerankQueries:
        """The texts with the features that the encoder makes of them: the costly part of encoding long texts."""
        return RerankQueries(texts, self.encoder.prepare(texts, "query"))

    def hits_of(
        self,
        queries: RerankQueries,
        *,
        k: int = 10,
        allowed: LabelFilter | None = None,
        queries_QD: Tensor | None = None,
    ) -> Hits:
        """`hits` of texts that are prepared already, and perhaps embedded."""
        k = check_k(k)
        depth = max(k, self.reranking.depth) if self.reranking else k
        queries_QD = self.embed(queries) if queries_QD is None else queries_QD
        hits = self.search_embeddings(queries_QD, k=depth, allowed=allowed)
        return self.reranking.rerank(queries, hits, k) if self.reranking else hits

    def embed(self, queries: RerankQueries) -> Tensor:
        """Query embeddings (Q, D) of prepared texts."""
        from xmc.encode.encoder import embed_features

        return embed_features(self.encoder, queries.features, "query")

    def search_embeddings(self, queries_QD: Tensor, *, k: int = 10, allowed: LabelFilter | None = None) -> Hits:
        """The best k label rows of each query embedding by the first stage alone: encoder and index."""
        import numpy as np
        import torch

        k = check_k(k)
        queries_QE = self.query_map.queries(queries_QD) if self.query_map else queries_QD
        hits = self.index.search(queries_QE, k) if allowed is None else allowed.search(self.index, queries_QE, k)
        require_hits(hits, self.index, queries=queries_QE.shape[0], labels=len(self.labels))
        if self.query_map is None:
            return hits
        offsets_H = self.query_map.offsets(queries_QD).repeat_interleave(torch.from_numpy(np.diff(hits.offsets)))
        return replace(hits, scores=hits.scores + offsets_H.float().numpy())

    def rank_texts(self, query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
        """These texts as if they were labels: (place in `texts`, score) of each, best first, by the first stage.

        Raises: DataError for a blank text, and for a run whose head knows trained labels only.
        """
        from xmc.retrieve.text_ranking import rank_texts

        check_texts(texts, what="text")
        return rank_texts(self, query, texts)

    def search_of_embeddings(self, queries_QD: Tensor) -> Callable[..., Hits]:
        """`hits_of` for queries without texts. Raises: ConfigError where the second stage needs them."""
        if self.reranking and self.reranking.reads_texts:
            raise ConfigError(
                "this run has a reranker, which reads texts; vectors have none.",
                hint="Give texts, or a run without a reranker.",
            )
        if queries_QD is None:  # for `hits_of` that is to embed them
            raise DataError("query vectors must be a torch tensor, got None.")
        return partial(self.hits_of, RerankQueries((), None), queries_QD=queries_QD)

    def search_of(self, texts: Sequence[str]) -> Callable[..., Hits]:
        """`hits_of` for these texts, which are encoded once for any number of searches."""
        queries = self.prepare(texts)
        return partial(self.hits_of, queries, queries_QD=self.embed(queries))
