"""The engine on a Ray cluster: actors that hold encoder and index, loaded once each; Ray moves nothing but names.

A run whose index is `sharded` is spread: each part of the index is held by an actor of its own, and the embedded
queries of a batch are put into Ray's object store once for all of them.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xmc.data.shard_list import ShardFile
from xmc.errors import ConfigError, PeerError
from xmc.machine import cores
from xmc.predict.ack import Ack
from xmc.predict.engine import TRIES, Failure, answered, understood
from xmc.predict.job import Job, Watch
from xmc.predict.ray_parts import JobActor, PartHolder, RemoteParts, part_numbers
from xmc.train.signals import kept_handlers

if TYPE_CHECKING:
    from xmc.predict.shard import ShardPredictor

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
            numbers = part_numbers(job)
            count, placing = self._planned(ray, job, parts=len(numbers), most=most)
            part_holder, holder = ray.remote(**placing)(PartHolder), ray.remote(**placing)(_Holder)
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


class _Holder(JobActor):
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
