"""The one function that answers a shard; every engine calls it, on this machine or another.

The file is complete and forced to disk (or uploaded) before its acknowledgement is written, so at any moment a shard is
done as a whole or counts as not begun.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xmc.data.shard_list import ShardFile
from xmc.data.shard_stream import ShardStream, open_stream
from xmc.errors import DataError
from xmc.predict.ack import Ack, output_name
from xmc.predict.allowed import read_allowed
from xmc.predict.job import Job, Watch, changed_since, model_facts
from xmc.predict.ledger import Ledger
from xmc.retrieve.label_filter import LabelFilter
from xmc.retrieve.query_columns import ID_COLUMNS, QUERY_COLUMNS, count_statuses
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.table_search import MAX_HITS, TableSearch
from xmc.store.location_writer import HashedFile, location_writer

PARQUET: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "write_page_checksum": True,
    "use_dictionary": ["label_ids.list.element", "status"],  # what repeats; ids and scores do not
}


@dataclass(frozen=True)
class ShardPredictor:
    """A job with its retriever loaded: answers any number of shards."""

    job: Job
    retriever: Retriever
    allowed: LabelFilter | None = None

    @classmethod
    def open(cls, job: Job, *, index: Any = None) -> ShardPredictor:
        """Load encoder and index, once for all shards; `index` stands in for the run's own.

        Raises: ArtifactError when the run or the filter is no longer what the job was made for; as `Retriever.load`.
        """
        retriever = Retriever.load(job.run, device=job.device, index=index, warn=False)
        if model_facts(retriever.identity, retriever.fitted) != dict(job.model):
            raise changed_since(job.run)
        allowed = read_allowed(job.out, job.allowed, retriever) if job.allowed else None
        return cls(job, retriever, allowed)

    def predict(self, shard: ShardFile, watch: Watch) -> Ack:
        """Answer a shard: write its hits, then its acknowledgement.

        Raises: DataError naming the shard for a wrong or damaged one; OSError naming the output; what `watch` raises.
        """
        name = output_name(shard)
        statuses: Counter[str] = Counter()
        rows = min(self.job.batch_rows, max(1, MAX_HITS // self.job.k))
        place = self.job.out.child(name)
        columns = (ID_COLUMNS, QUERY_COLUMNS)
        with (
            _taken_back_on_failure(watch) as counted,
            open_stream(shard, columns=columns, rows=rows) as stream,
            location_writer(place) as file,
        ):
            self._write(file, stream, shard, statuses, counted)
            if shard.has_changed():
                raise DataError(f"{shard.location.shown} was changed while it was read.", hint="Start again.")
            counted(0, 0)
        ack = Ack(
            name=name,
            input=shard.name,
            input_size=shard.size,
            input_modified_ns=shard.modified_ns,
            fingerprint=self.job.fingerprint,
            rows=sum(statuses.values()),
            statuses=dict(sorted(statuses.items())),
            size=file.size,
            sha256=file.sha256,
            location=shard.location.shown,
        )
        Ledger(self.job).acknowledge(ack)
        return ack

    def _write(
        self, file: HashedFile, stream: ShardStream, shard: ShardFile, statuses: Counter[str], watch: Watch
    ) -> None:
        """The hits of a stream, as Parquet, batch by batch."""
        import pyarrow.parquet as pq

        search = TableSearch.of(
            self.retriever,
            stream.schema,
            k=self.job.k,
            min_probability=self.job.min_probability,
            allowed=self.allowed,
            source=shard.location.shown,
        )
        done = 0
        with pq.ParquetWriter(file, search.schema, **PARQUET) as writer:
            for batch, share in stream.batches:
                hits = search.batch(batch)
                writer.write_batch(hits)
                statuses.update(count_statuses(hits.column("status")))
                now = int(share * shard.size)
                watch(batch.num_rows, now - done)
                done = now


@contextlib.contextmanager
def _taken_back_on_failure(watch: Watch) -> Iterator[Watch]:
    """A watch that tells this one the same; where the shard turns out to be none, it takes all of that back."""
    told_rows = told_size = 0

    def counted(rows: int, size: int) -> None:
        nonlocal told_rows, told_size
        told_rows, told_size = told_rows + rows, told_size + size
        watch(rows, size)

    try:
        yield counted
    except DataError:
        watch(-told_rows, -told_size)
        raise
