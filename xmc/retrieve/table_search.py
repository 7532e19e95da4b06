"""Search a table of queries batch by batch: one row out for every row in, in their order.

`Retriever.search_table`, `Retriever.search_batches` and `xmc predict` all call `TableSearch.batch`.
Shapes: N rows of a batch, U of them usable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xmc.api import DataError, Hits
from xmc.data.schemas import schema_of
from xmc.machine import lacks_memory
from xmc.ragged import offsets_of
from xmc.retrieve.batch import concatenate_hits, hit_columns
from xmc.retrieve.label_filter import LabelFilter, as_filter
from xmc.retrieve.no_match import no_match
from xmc.retrieve.query_checks import check_k
from xmc.retrieve.query_columns import NO_MATCH, OK, QueryColumns

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.retrieve.retriever import Retriever

MAX_HITS = 4_000_000  # of one search: what it holds at a time is bounded by this whatever rows and k are
BATCH_ROWS = 1024


@dataclass(frozen=True)
class TableSearch:
    """How the queries of a table are searched, among the labels `allowed` where there is such a filter.

    Raises: ConfigError for k outside 1..10,000 or a probability outside 0..1; ArtifactError for `min_probability`
    without a calibration.
    """

    retriever: Retriever
    columns: QueryColumns
    k: int
    min_probability: float | None = None
    allowed: LabelFilter | None = None
    schema: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_k(self.k))
        _, probabilities_H = self.retriever.judged_hits(concatenate_hits([]), self.min_probability)
        left_out = [] if probabilities_H is not None else ["probabilities"]
        schema = schema_of("hits", without=left_out)
        ids = pa.field("query_id", self.columns.id_type)
        object.__setattr__(self, "schema", schema.set(0, ids))

    @classmethod
    def of(
        cls,
        retriever: Retriever,
        schema: Any,
        *,
        k: int,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
        source: str = "the table",
    ) -> TableSearch:
        """The search of tables of this schema; `source` names the table in errors.

        Raises: DataError for wrong columns, embeddings where a reranker needs texts, allowed labels that are not there.
        """
        columns = QueryColumns.of(schema, dimension=retriever.encoder.dimension, source=source)
        if columns.query_name == "embedding" and retriever.reranking and retriever.reranking.reads_texts:
            raise DataError(
                f"{source} has embeddings, and the reranker of this run reads texts.",
                hint="Give texts, or a run without a reranker.",
            )
        return cls(retriever, columns, k, min_probability, as_filter(retriever.labels, allowed))

    @property
    def most_rows(self) -> int:
        """How many rows may be searched at once, so that their hits fit in memory."""
        return max(1, MAX_HITS // self.k)

    def batch(self, batch: Any) -> Any:
        """The `hits` of one record batch, with the column `status`; a row that was not searched has empty lists.

        Raises: ArtifactError, NonFiniteError from the index or a reranker.
        """
        queries, statuses = self._usable(batch)
        hits, probabilities_H = self._answers(queries)
        counts_N = np.zeros(batch.num_rows, np.int64)
        statuses_N = np.array(statuses, dtype=object)
        searched = np.flatnonzero(statuses_N == OK)
        counts_N[searched] = np.diff(hits.offsets)
        statuses_N[searched[no_match(self.retriever, hits)]] = NO_MATCH
        offsets = offsets_of(counts_N)
        columns = {
            "query_id": self.columns.ids(batch),
            **hit_columns(Hits(offsets, hits.label_rows, hits.scores), self.retriever.labels, probabilities_H),
            "status": pa.array(statuses_N, pa.string()),
        }
        return pa.record_batch([columns[name] for name in self.schema.names], schema=self.schema)

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The hits of record batches, one after the other; one of more than 1,024 rows is answered in parts."""
        rows = min(BATCH_ROWS, self.most_rows)
        for batch in batches:
            for start in range(0, batch.num_rows, rows):
                yield self.batch(batch.slice(start, rows))

    def _usable(self, batch: Any) -> tuple[Tensor | list[Any], Any]:
        """The embeddings or texts of the usable rows, and the status of every row."""
        if self.columns.query_name == "embedding":
            return self.columns.embeddings(batch)
        texts, statuses = self.columns.texts(batch)
        return [text for text, status in zip(texts, statuses, strict=True) if status == OK], statuses

    def _answers(self, queries: Tensor | list[Any]) -> tuple[Hits, Any]:
        """Hits with probabilities, in halves when the memory does not suffice for all queries at once."""
        if len(queries) == 0:
            return self.retriever.judged_hits(concatenate_hits([]), self.min_probability)
        try:
            return self._judged(queries)
        except (MemoryError, RuntimeError) as error:
            if len(queries) == 1 or not lacks_memory(error):
                raise
        half = len(queries) // 2
        parts, probabilities = zip(self._answers(queries[:half]), self._answers(queries[half:]), strict=True)
        return concatenate_hits(list(parts)), None if probabilities[0] is None else np.concatenate(probabilities)

    def _judged(self, queries: Tensor | list[Any]) -> tuple[Hits, Any]:
        search = (
            self.retriever.search_of(queries)
            if isinstance(queries, list)
            else self.retriever.search_of_embeddings(queries)
        )
        return self.retriever.judged_by(
            search, k=self.k, min_probability=self.min_probability, label_filter=self.allowed
        )


def search_batches(
    retriever: Retriever,
    reader: Any,
    *,
    k: int,
    min_probability: float | None = None,
    allowed: Iterable[str] | LabelFilter | None = None,
) -> Iterator[Any]:
    """See `Retriever.search_batches`."""
    if not isinstance(reader, pa.RecordBatchReader):
        raise DataError(
            f"search_batches reads a RecordBatchReader, got {type(reader).__name__}.",
            hint="Write pa.RecordBatchReader.from_batches(schema, batches), table.to_reader(), or "
            "dataset.scanner().to_reader().",
        )
    search = TableSearch.of(retriever, reader.schema, k=k, min_probability=min_probability, allowed=allowed)
    return search.batches(reader)


def search_table(
    retriever: Retriever,
    table: Any,
    *,
    k: int,
    min_probability: float | None = None,
    allowed: Iterable[str] | LabelFilter | None = None,
) -> Any:
    """See `Retriever.search_table`."""
    if not isinstance(table, pa.Table):
        raise DataError(
            f"search_table reads a pyarrow.Table, got {type(table).__name__}.",
            hint="pa.Table.from_batches([batch]), pa.Table.from_pandas(frame) and frame.to_arrow() make one.",
        )
    search = TableSearch.of(retriever, table.schema, k=k, min_probability=min_probability, allowed=allowed)
    return pa.Table.from_batches(search.batches(table.to_batches()), schema=search.schema)
