"""Search many texts in bounded memory, and write hits as Arrow shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xmc.api import RerankQueries
from xmc.data.schemas import schema_of
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable
from xmc.encode.encoder import chunks
from xmc.ragged import offsets_of
from xmc.retrieve.label_filter import LabelFilter
from xmc.retrieve.query_checks import check_texts
from xmc.retrieve.retriever import Retriever
from xmc.values import Hits

CHUNK = 1024


def search_texts(
    retriever: Retriever,
    texts: Sequence[str],
    *,
    k: int,
    on_chunk: Callable[[int], None] | None = None,
) -> Hits:
    """Hits of many texts, encoded and searched 1,024 at a time; `on_chunk` hears how many were done.

    Raises: DataError naming the first text that is none, before any is searched.
    """
    check_texts(texts)
    parts = []
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        parts.append(retriever.hits(chunk, k=k))
        if on_chunk:
            on_chunk(len(chunk))
    return concatenate_hits(parts)


def search_queries(
    retriever: Retriever,
    queries: RerankQueries,
    *,
    k: int,
    on_chunk: Callable[[int], None] | None = None,
    allowed: LabelFilter | None = None,
) -> Hits:
    """Hits of prepared queries, searched 1,024 at a time; `on_chunk` hears how many were done."""
    parts = []
    for rows in chunks(len(queries), CHUNK):
        part = RerankQueries(queries.texts[rows[0] : rows[-1] + 1], queries.features.take(rows))
        parts.append(retriever.hits_of(part, k=k, allowed=allowed))
        if on_chunk:
            on_chunk(len(rows))
    return concatenate_hits(parts)


def concatenate_hits(parts: Sequence[Hits]) -> Hits:
    """The hits of the parts' queries one after the other."""
    if not parts:
        return Hits(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    offsets = offsets_of(np.concatenate([np.diff(part.offsets) for part in parts]))
    return Hits(
        offsets, np.concatenate([part.label_rows for part in parts]), np.concatenate([part.scores for part in parts])
    )


def hits_to_arrow(query_ids: Sequence[str], hits: Hits, labels: LabelTable) -> Any:
    """The `hits` table: query id, label ids and scores, best first."""
    import pyarrow as pa

    schema = schema_of("hits", without=["status", "probabilities"])
    columns = {"query_id": pa.array(query_ids, pa.string()), **hit_columns(hits, labels)}
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def hit_columns(hits: Hits, labels: LabelTable, probabilities_H: Any = None) -> dict[str, Any]:
    """The list columns of a `hits` table; scores and offsets are not copied where Arrow can share them."""
    import pyarrow as pa

    offsets = pa.array(hits.offsets.astype(np.int32))
    values = {"label_ids": labels.arrow_ids.take(pa.array(hits.label_rows)), "scores": pa.array(hits.scores)}
    if probabilities_H is not None:
        values["probabilities"] = pa.array(probabilities_H, pa.float32())
    return {name: pa.ListArray.from_arrays(offsets, column) for name, column in values.items()}


def write_hits(path: Path, query_ids: Sequence[str], hits: Hits, labels: LabelTable) -> None:
    """Write the `hits` table of some queries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, hits_to_arrow(query_ids, hits, labels))
