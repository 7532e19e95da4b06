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
from xmc.retrieve.batch import concatenate_hits, hit_columns
from xmc.retrieve.query_columns import OK, QueryColumns
from xmc.retrieve.retriever import check_k

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.retrieve.retriever import Retriever

MAX_HITS = 4_000_000  # of one search: what it holds at a time is bounded by this whatever rows and k are
BATCH_ROWS = 1024
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


@dataclass(frozen=True)
class TableSearch:
    """How the queries of a table are searched; `source` names the table in errors.

    Raises: ConfigError for k outside 1..10,000, a probability outside 0..1, or embeddings where a reranker needs texts;
    ArtifactError for `min_probability` without a calibration.
    """

    retriever: Retriever
    columns: QueryColumns
    k: int
    min_probability: float | None = None
    schema: Any = field(init=False)

    def __post_init__(self) -> None:
        check_k(self.k)
        if self.columns.query_name == "embedding":
            self.retriever.require_no_reranker("a table of embeddings has none")
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
        source: str = "the table",
    ) -> TableSearch:
        """The search of tables of this schema. Raises: DataError for wrong columns."""
        columns = QueryColumns.of(schema, dimension=retriever.encoder.dimension, source=source)
        return cls(retriever, columns, k, min_probability)

    @property
    def most_rows(self) -> int:
        """How many rows may be searched at once, so that their hits fit in memory."""
        return max(1, MAX_HITS // self.k)

    def batch(self, batch: Any) -> Any:
        """The `hits` of one record batch, with the column `status`; a row that is not `ok` has empty lists.

        Raises: ArtifactError, NonFiniteError from the index or a reranker.
        """
        hits, statuses = self._hits(batch)
        hits, probabilities_H = self.retriever.judged_hits(hits, self.min_probability)
        counts_N = np.zeros(batch.num_rows, np.int64)
        counts_N[np.asarray(statuses, dtype=object) == OK] = np.diff(hits.offsets)
        offsets = np.concatenate(([0], np.cumsum(counts_N)))
        columns = {
            "query_id": self.columns.ids(batch),
            **hit_columns(Hits(offsets, hits.label_rows, hits.scores), self.retriever.labels, probabilities_H),
            "status": pa.array(statuses, pa.string()),
        }
        return pa.record_batch([columns[name] for name in self.schema.names], schema=self.schema)

    def batches(self, batches: Iterable[Any], *, rows: int = BATCH_ROWS) -> Iterator[Any]:
        """The hits of record batches, one after the other; a larger one is answered in parts of `rows`."""
        rows = min(rows, self.most_rows)
        for batch in batches:
            for start in range(0, batch.num_rows, rows):
                yield self.batch(batch.slice(start, rows))

    def _hits(self, batch: Any) -> tuple[Hits, Any]:
        """The hits of the usable rows, and the status of every row."""
        if self.columns.query_name == "embedding":
            vectors_UD, statuses = self.columns.embeddings(batch)
            return self._search(vectors_UD), statuses
        texts, text_statuses = self.columns.texts(batch)
        usable = [text for text, status in zip(texts, text_statuses, strict=True) if status == OK]
        return self._search(usable), text_statuses

    def _search(self, queries: Tensor | list[Any]) -> Hits:
        """Search, in halves when the memory does not suffice for all at once."""
        if len(queries) == 0:
            return Hits(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        try:
            if isinstance(queries, list):
                return self.retriever.hits_of(self.retriever.prepare(queries), k=self.k)
            return self.retriever.search_embeddings(queries, k=self.k)
        except (MemoryError, RuntimeError) as error:
            if len(queries) == 1 or not _is_lack_of_memory(error):
                raise
        half = len(queries) // 2
        return concatenate_hits([self._search(queries[:half]), self._search(queries[half:])])


def _is_lack_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY)


def search_batches(
    retriever: Retriever, reader: Any, *, k: int, min_probability: float | None = None, rows: int = BATCH_ROWS
) -> Iterator[Any]:
    """See `Retriever.search_batches`."""
    schema = getattr(reader, "schema", None)
    if schema is None:
        raise DataError(
            f"search_batches reads a RecordBatchReader, got {type(reader).__name__}.",
            hint="Write pa.RecordBatchReader.from_batches(schema, batches), or dataset.scanner().to_reader().",
        )
    return TableSearch.of(retriever, schema, k=k, min_probability=min_probability).batches(reader, rows=rows)


def search_table(retriever: Retriever, table: Any, *, k: int, min_probability: float | None = None) -> Any:
    """See `Retriever.search_table`."""
    search = TableSearch.of(retriever, table.schema, k=k, min_probability=min_probability)
    return pa.Table.from_batches(search.batches(table.to_batches()), schema=search.schema)
