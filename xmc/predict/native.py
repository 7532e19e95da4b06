"""The engine of one machine: a process for each core or GPU, each with its own retriever, the threads shared out."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmc.data.shard_list import ShardFile
from xmc.errors import DataError, PeerError
from xmc.machine import THREAD_VARIABLES, available_memory, cores
from xmc.predict.ack import Ack
from xmc.predict.engine import TRIES, Failure, understood
from xmc.predict.gpus import gpus_for
from xmc.predict.job import Job, Watch
from xmc.retrieve.layout import INDEX_FACTS, INDEX_LABELS, encoder_store, index_store
from xmc.retrieve.run_state import description_of, require_device

POLL_S = 0.2
END_S = 30.0
LIBRARY_BYTES = 500 << 20
LABEL_BYTES, CHARACTER_BYTES = 150, 4  # of a label and of each character of it, as measured
COMMAND = "from xmc.predict.worker import main; main()"


@dataclass(frozen=True)
class NativeEngine:
    """Worker processes of this machine; one worker works in this process.

    `workers` 0: one a GPU, where the job uses any, else one a core, as memory allows.
    """

    workers: int = 0

    @contextlib.contextmanager
    def started(self, job: Job, *, most: int, waiting: Callable[[], None]) -> Iterator[Processes]:
        """See `Engine.started`; processes start with their first shards.

        Raises: DeviceError, ConfigError for a device that the index cannot lie on here.
        """
        del waiting  # there is nothing to wait for
        require_device(Path(job.run), job.device)
        gpus = gpus_for(job.device)
        count = min(self.workers or len(gpus) or affordable_workers(Path(job.run)), most)
        yield Processes(job, count, gpus)


@dataclass(frozen=True)
class Processes:
    """So many worker processes that share these GPUs; a single worker is this process."""

    job: Job
    count: int
    gpus: Sequence[str]

    def map_shards(self, shards: Sequence[ShardFile], *, watch: Watch) -> Generator[Ack | Failure]:
        """See `Workers.map_shards`. Raises: PeerError when a shard has cost several workers."""
        if self.count <= 1:
            yield from _here(self.job, shards, watch)
            return
        pool = _Pool(self.job, deque(shards), threads=max(1, cores() // self.count), gpus=self.gpus)
        try:
            yield from pool.run(self.count, watch)
        finally:
            pool.end()


def _here(job: Job, shards: Sequence[ShardFile], watch: Watch) -> Generator[Ack | Failure]:
    from xmc.predict.shard import ShardPredictor  # loads torch, which this process needs in this case only

    predictor = ShardPredictor.open(job)
    for shard in shards:
        try:
            yield predictor.predict(shard, watch)
        except DataError as error:
            yield Failure(shard, error)


def affordable_workers(run: Path, *, count: int | None = None, available: int | None = None) -> int:
    """One worker a core, but no more than have room for what a worker takes.

    `count` cores and `available` bytes are asked of the machine when they are not given.
    """
    count = cores() if count is None else count
    available = available_memory() if available is None else available
    return max(1, min(count, int(0.8 * available) // worker_bytes(run)))


def worker_bytes(run: Path) -> int:
    """What a worker takes at most: encoder and index, twice that while it opens them, label table, libraries."""
    index = index_store(run).current(only=(INDEX_FACTS, INDEX_LABELS))
    encoder = sum(size for size, _ in encoder_store(run).current(only=()).manifest.files.values())
    held = int(description_of(index)["report"]["memory_bytes"]) + encoder
    return 2 * held + _label_bytes(index.folder / INDEX_LABELS) + LIBRARY_BYTES


def _label_bytes(path: Path) -> int:
    """What ids and texts of the labels take when they are read: Python's strings, and Arrow's copies meanwhile."""
    import pyarrow.parquet as pq

    table = pq.read_metadata(path)
    groups = [table.row_group(number) for number in range(table.num_row_groups)]
    characters = sum(group.column(i).total_uncompressed_size for group in groups for i in range(table.num_columns))
    return LABEL_BYTES * int(table.num_rows) + CHARACTER_BYTES * int(characters)


@dataclass(eq=False)
class _Worker:
    """A process, the shard it is at, and what it has said of it so far."""

    process: subprocess.Popen[bytes]
    shard: ShardFile | None = None
    rows: int = 0
    size: int = 0
    unread: bytes = b""
    gpu: str = ""

    def send(self, message: dict[str, Any]) -> None:
        """Write a line; that a worker is dead is noticed when it is read from."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()


@dataclass(eq=False)
class _Pool:
    job: Job
    waiting: deque[ShardFile]
    threads: int
    gpus: Sequence[str] = ()
    selector: selectors.DefaultSelector = field(default_factory=selectors.DefaultSelector)
    tries: dict[str, int] = field(default_factory=dict)

    def run(self, workers: int, watch: Watch) -> Generator[Ack | Failure]:
        for _ in range(workers):
            self._start()
        while self._busy():
            watch(0, 0)
            for key, _ in self.selector.select(POLL_S):
                yield from self._hear(key.data, watch)

    def end(self) -> None:
        """Close the input of every worker, which makes it drop what it does, and wait until all are gone."""
        processes = [worker.process for worker in self._workers()]
        for process in processes:
            if process.stdin:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        for process in processes:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        self.selector.close()

    def _workers(self) -> list[_Worker]:
        return [key.data for key in self.selector.get_map().values()]

    def _busy(self) -> bool:
        return any(worker.shard for worker in self._workers())

    def _start(self) -> None:
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        parallel = {"TOKENIZERS_PARALLELISM": "true" if self.threads > 1 else "false"}
        path = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        gpu = self._least_used_gpu()
        visible = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads, **parallel, **path, **visible},
        )
        assert process.stdout is not None
        worker = _Worker(process, gpu=gpu)
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)
        worker.send(self.job.to_dict())
        self._give(worker)

    def _least_used_gpu(self) -> str:
        """The GPU with the fewest workers, the first of them; none on a CPU."""
        taken = [worker.gpu for worker in self._workers()]
        return min(self.gpus, key=taken.count, default="")

    def _give(self, worker: _Worker) -> None:
        worker.shard = self.waiting.popleft() if self.waiting else None
        worker.rows = worker.size = 0
        if worker.shard:
            worker.send(worker.shard.to_dict())

    def _hear(self, worker: _Worker, watch: Watch) -> Generator[Ack | Failure]:
        assert worker.process.stdout is not None
        data = os.read(worker.process.stdout.fileno(), 1 << 16)
        if not data:
            self._replace(worker, watch)
            return
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "rows" in message:
                worker.rows += message["rows"]
                worker.size += message["bytes"]
                watch(message["rows"], message["bytes"])
                continue
            shard, worker.shard = worker.shard, None
            assert shard is not None
            result = understood(shard, message)
            self._give(worker)
            yield result

    def _replace(self, worker: _Worker, watch: Watch) -> None:
        """A worker died: take back what it said of its shard, and let a new one do that shard first.

        Raises: PeerError when one shard has cost several workers.
        """
        assert worker.process.stdout is not None
        self.selector.unregister(worker.process.stdout)
        code = worker.process.wait()
        worker.process.stdout.close()
        shard = worker.shard
        if shard is None:
            return
        watch(-worker.rows, -worker.size)
        self.tries[shard.name] = self.tries.get(shard.name, 0) + 1
        if self.tries[shard.name] >= TRIES:
            raise PeerError(
                f"{TRIES} worker processes died on {shard.location.shown} (the last with exit code {code}).",
                hint="Is there enough memory? Try fewer --workers or smaller --batch-rows.",
            )
        self.waiting.appendleft(shard)
        self._start()
