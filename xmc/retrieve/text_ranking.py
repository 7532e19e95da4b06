"""Texts that are no labels of a run, ranked for a query as if they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xmc.data.tables import LabelTable
from xmc.encode.csr import concatenate_rows
from xmc.errors import DataError
from xmc.retrieve.flat_scan import FlatScan

if TYPE_CHECKING:
    from xmc.retrieve.stages import Stages


def rank_texts(stages: Stages, query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
    """See `Stages.rank_texts`, which has checked the texts."""
    if not stages.model.labels_from_text:
        raise DataError("this run's head has a vector for each label it was trained with, and none for other texts.")
    if not len(texts):
        return []
    table = LabelTable([str(row) for row in range(len(texts))], list(texts))
    chunks, query_map = replace(stages.model, own=None).label_vectors(table)
    report = stages.report
    vectors_ND = concatenate_rows(list(chunks), dimension=report.dimension)
    index = FlatScan.of(vectors_ND, similarity=report.similarity)
    alone = replace(stages, index=index, query_map=query_map, reranking=None)
    hits = alone.search_embeddings(alone.encode([query]), k=len(texts))
    return list(zip(hits.label_rows.tolist(), hits.scores.tolist(), strict=True))
