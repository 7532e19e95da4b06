"""The engine on a Ray cluster: actors that hold encoder and index, loaded once each; Ray moves nothing but names.

A run whose index is `sharded` is spread: each part of the index is held by an actor of its own, and the embedded
queries of a batch are put into Ray's object store once for all of them.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.data.shard_list import ShardFile
from xmc.errors import ConfigError, PeerError
from xmc.machine import cores
from xmc.predict.ack import Ack
from xmc.predict.engine import TRIES, Failure, answered, understood
from xmc.predict.job import Job, Watch, index_folder, require_here
from xmc.train.signals import kept_handlers

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from xmc.api import Index
    from xmc.predict.shard import ShardPredictor
    from xmc.values import Hits, IndexReport

POLL_S = 0.3
LOCAL_STORE_BYTES = 200 << 20  # only embedded queries and hits of single batches go through it
# No CPU is reserved, for an actor that waits for one would hold its shard for ever; their number is chosen instead.
# An actor may die as often as it likes, a shard costs it at most TRIES lives: over thousands of shards these add up.
PLACING: dict[str, Any] = {
    "num_cpus": 0,
    "scheduling_strategy": "SPREAD",
    "max_restarts": -1,
    "max_task_retries": TRIES - 1,
}


@dataclass(frozen=True)
class RayEngine:
    """Actors of a Ray cluster: `scheduler` is its address; empty takes the one of this process, else starts one here.

    `workers` 0: one actor a GPU of the cluster, where it has any and the job may use them, else one a CPU; less those
    that hold parts of the index. More actors than GPUs share them.
    """

    workers: int = 0
    scheduler: str = ""

    def __post_init__(self) -> None:
        _require_ray()

    @contextlib.contextmanager
    def started(self, job: Job, *, most: int, waiting: Callable[[], None]) -> Iterator[RayWorkers]:
        """See `Engine.started`."""
        ray = _require_ray()
        mine = not ray.is_initialized()
        if mine:
            _connect(ray, self.scheduler, self.workers)
        actors: list[Any] = []
        try:
            numbers = _part_numbers(job)
            count, placing = self._planned(ray, job, parts=len(numbers), most=most)
            part_holder, holder = ray.remote(**placing)(_PartHolder), ray.remote(**placing)(_Holder)
            parts = [part_holder.remote(job.to_dict(), number) for number in numbers]
            actors += parts
            predictors = [holder.remote(job.to_dict(), parts) for _ in range(count)]
            actors += predictors
            _require_ready(ray, actors, waiting)
            yield RayWorkers(predictors)
        finally:
            for actor in actors:
                ray.kill(actor)
            if mine:
                ray.shutdown()

    def _planned(self, ray: Any, job: Job, *, parts: int, most: int) -> tuple[int, dict[str, Any]]:
        """How many actors, at most so many, answer shards, and what each of them and of the parts asks of Ray."""
        # of the GPUs only those that are free: who asks for others waits for them
        gpus = 0 if job.device == "cpu" else int(ray.available_resources().get("GPU", 0))
        cpus = int(ray.cluster_resources().get("CPU", 1))
        count = min(self.workers or max(1, (gpus or cpus) - parts), most)
        to_a_gpu = -(-(count + parts) // gpus) if gpus else 0
        return count, {**PLACING, **({"num_gpus": 1 / to_a_gpu} if gpus else {})}  # so that each fits onto one GPU


@dataclass(frozen=True)
class RayWorkers:
    """Actors that answer shards."""

    actors: Sequence[Any]

    def map_shards(self, shards: Sequence[ShardFile], *, watch: Watch) -> Generator[Ack | Failure]:
        """See `Workers.map_shards`. Raises: PeerError when a shard has cost several actors."""
        yield from _run(_require_ray(), self.actors, deque(shards), watch)


class _Actor:
    """One of a job, on some machine."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = Job.from_dict(job)

    def require_here(self) -> None:
        """See `xmc.predict.job.require_here`."""
        require_here(self.job)


class _Holder(_Actor):
    """An actor that answers shards; it opens the retriever at the first one."""

    def __init__(self, job: dict[str, Any], parts: Sequence[Any]) -> None:
        super().__init__(job)
        self.parts = parts
        self.predictor: ShardPredictor | None = None

    def predict(self, shard: dict[str, Any]) -> dict[str, Any]:
        """`ShardPredictor.predict`, its outcome as plain values."""
        return answered(lambda: self._opened().predict(ShardFile.from_dict(shard), lambda rows, size: None))

    def _opened(self) -> ShardPredictor:
        from xmc.predict.shard import ShardPredictor

        if self.predictor is None:
            index = RemoteParts.of(self.job, self.parts) if self.parts else None
            self.predictor = ShardPredictor.open(self.job, index=index)
        return self.predictor


class _PartHolder(_Actor):
    """An actor that holds one part of a sharded index; it opens it at the first search.

    Not when it starts: an actor that is killed while it starts would be started anew for ever.
    """

    def __init__(self, job: dict[str, Any], number: int) -> None:
        super().__init__(job)
        self.number = number

    @functools.cached_property
    def index(self) -> Index:
        """The part."""
        from xmc.plugin_manager import load_plugins
        from xmc.retrieve.sharded import load_part

        return load_part(index_folder(self.job), self.number, device=self.job.device, plugins=load_plugins())

    def search(self, queries_QD: Any, k: int, label_rows: np.ndarray[Any, Any] | None = None) -> Hits:
        """The hits of the part, in rows of its own; among these rows of its own, if any are given."""
        import torch

        from xmc.retrieve.kept_search import search_among

        if not isinstance(queries_QD, torch.Tensor):
            queries_QD = torch.from_numpy(queries_QD.copy())  # what Ray shares is read-only
        if label_rows is None:
            return self.index.search(queries_QD, k)
        return search_among(self.index, queries_QD, k, label_rows)


@dataclass(frozen=True, eq=False)
class RemoteParts:
    """A sharded index whose parts are held by actors: searched all at once, merged here."""

    actors: Sequence[Any]
    starts: tuple[int, ...]
    report: IndexReport

    @classmethod
    def of(cls, job: Job, actors: Sequence[Any]) -> RemoteParts:
        """The index of the job's run."""
        from xmc.retrieve.sharded import read_facts

        starts, report = read_facts(index_folder(job))
        return cls(actors, starts, report)

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The best k labels over all parts."""
        return self._merged(queries_QD, k, [None] * len(self.actors))

    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows over all parts."""
        from xmc.retrieve.sharded import rows_of_parts

        return self._merged(queries_QD, k, rows_of_parts(label_rows, self.starts))

    def _merged(self, queries_QD: Tensor, k: int, rows: Sequence[np.ndarray[Any, Any] | None]) -> Hits:
        import ray
        import torch

        from xmc.retrieve.sharded import merge_parts

        shared = ray.put(queries_QD.numpy() if queries_QD.layout == torch.strided else queries_QD)
        answers = [actor.search.remote(shared, k, own) for actor, own in zip(self.actors, rows, strict=True)]
        try:
            return merge_parts(ray.get(answers), self.starts, k)
        except ray.exceptions.RayTaskError as error:  # of a class that Ray makes up, which nobody knows by its name
            raise error.cause from error

    def save(self, folder: Path) -> None:
        """Refused: the parts lie in their run already."""
        raise ConfigError(f"an index that other processes hold is not written to {folder}.")


def _require_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError("the engine 'ray' needs Ray.", hint="pip install 'xmc-engine[ray]'") from None
    return ray


def _connect(ray: Any, scheduler: str, workers: int) -> None:
    """Join the cluster, or start one of this machine: without dashboard, reachable from this machine only.

    Raises: PeerError with Ray's reason.
    """
    local = {
        "num_cpus": workers or cores(),
        "include_dashboard": False,
        "object_store_memory": LOCAL_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        with kept_handlers():  # Ray's own would leave at once, with no word and another code
            ray.init(address=scheduler or "local", log_to_driver=False, **({} if scheduler else local))
    except Exception as error:  # Ray raises no narrower class when a start times out
        raise PeerError(
            f"no Ray cluster at '{scheduler or 'local'}': {' '.join(str(error).split())[:200]}",
            hint="Is the address right and the cluster up?",
        ) from error


def _part_numbers(job: Job) -> range:
    """The parts of a sharded index, none for another."""
    folder = index_folder(job).parent
    if json.loads((folder / "index.json").read_text(encoding="utf-8"))["name"] != "sharded":
        return range(0)
    from xmc.retrieve.sharded import read_facts

    starts, _ = read_facts(folder / "backend")
    return range(len(starts))


def _require_ready(ray: Any, actors: Sequence[Any], waiting: Callable[[], None]) -> None:
    """Wait until every actor is there and has what the job needs. Raises: as `require_here`; PeerError."""
    asked = [actor.require_here.remote() for actor in actors]
    while asked:
        waiting()
        ended, asked = ray.wait(asked, timeout=POLL_S)
        for reference in ended:
            try:
                ray.get(reference)
            except ray.exceptions.RayTaskError as error:  # of a class that Ray makes up
                raise error.cause from error
            except ray.exceptions.RayActorError as error:
                raise PeerError(
                    f"a Ray actor does not start: {str(error).strip().splitlines()[0]}",
                    hint="Is xmc in this version on every machine? See also the logs of Ray.",
                ) from error


def _run(ray: Any, workers: Sequence[Any], waiting: deque[ShardFile], watch: Watch) -> Generator[Ack | Failure]:
    """Keep every actor at one shard; Ray starts an actor that died anew and calls it again."""
    running: dict[Any, tuple[Any, ShardFile]] = {}
    idle = list(workers)
    while waiting or running:
        while waiting and idle:
            actor, shard = idle.pop(), waiting.popleft()
            running[actor.predict.remote(shard.to_dict())] = actor, shard
        watch(0, 0)
        ended, _ = ray.wait(list(running), timeout=POLL_S)
        for reference in ended:
            actor, shard = running.pop(reference)
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayActorError as error:
                raise PeerError(
                    f"{TRIES} Ray actors died on {shard.location.shown}: {str(error).strip().splitlines()[0]}",
                    hint="Is there enough memory on the machines? See also the logs of Ray.",
                ) from error
            result = understood(shard, answer)
            idle.append(actor)
            if isinstance(result, Ack):
                watch(result.rows, shard.size)
            yield result
