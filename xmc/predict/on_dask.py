"""The engine on a Dask cluster: each worker process opens the retriever once and answers shards as tasks."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xmc.data.shard_list import ShardFile
from xmc.errors import ConfigError, PeerError, XmcError
from xmc.machine import cores
from xmc.predict.ack import Ack
from xmc.predict.engine import TRIES, Failure, answered, understood
from xmc.predict.gpus import gpus_for
from xmc.predict.job import Job, Watch, require_here

if TYPE_CHECKING:
    from xmc.predict.shard import ShardPredictor

POLL_S = 0.3
END_S = 20.0  # for tasks under way to notice that they shall end
_opened: dict[str, ShardPredictor] = {}
_opening = threading.Lock()


@dataclass(frozen=True)
class DaskEngine:
    """Workers of a Dask cluster: `scheduler` is its address; empty starts `workers` processes on this machine."""

    workers: int = 0
    scheduler: str = ""

    def __post_init__(self) -> None:
        _require_distributed()

    @contextlib.contextmanager
    def started(self, job: Job, *, most: int, waiting: Callable[[], None]) -> Iterator[DaskWorkers]:
        """See `Engine.started`."""
        distributed = _require_distributed()
        with _cluster(distributed, self, job, most) as address, distributed.Client(address) as client:
            waiting()
            _require_ready(client, job)
            yield DaskWorkers(job, client)


@dataclass(frozen=True)
class DaskWorkers:
    """What a client of a Dask cluster reaches."""

    job: Job
    client: Any

    def map_shards(self, shards: Sequence[ShardFile], *, watch: Watch) -> Generator[Ack | Failure]:
        """See `Workers.map_shards`. Raises: PeerError when a shard has cost several workers."""
        values, stop = self.job.to_dict(), f"xmc-predict-{uuid.uuid4()}"
        futures = {
            self.client.submit(predict_here, values, shard.to_dict(), stop, pure=False, retries=TRIES - 1): shard
            for shard in shards
        }
        try:
            yield from _collect(_require_distributed(), futures, watch)
        finally:
            self._end(futures, stop)

    def _end(self, futures: Iterable[Any], stop: str) -> None:
        """Let tasks that are under way end first: a cancelled one would go on, and write what nobody waits for."""
        distributed = _require_distributed()
        if under_way := [future for future in futures if not future.done()]:
            with contextlib.suppress(OSError, TimeoutError):
                distributed.Event(stop, client=self.client).set()
                distributed.wait(under_way, timeout=END_S)
        self.client.cancel(list(futures))


def predict_here(job: dict[str, Any], shard: dict[str, Any], stop: str) -> dict[str, Any]:
    """The task: `ShardPredictor.predict` with this process's retriever, its outcome as plain values.

    It ends when the event `stop` is set: the command that asked for it has ended.
    """
    return answered(lambda: _predictor(job).predict(ShardFile.from_dict(shard), _Until(stop)))


def _require_ready(client: Any, job: Job) -> None:
    """See that every worker of the cluster has what the job needs. Raises: as `require_here`; PeerError."""
    for address, found in client.run(_require_here, job.to_dict(), on_error="return").items():
        if isinstance(found, XmcError):
            raise found
        if isinstance(found, Exception) and not isinstance(found, OSError):  # so Dask says that one is gone
            raise PeerError(
                f"the Dask worker {address} is not ready: {type(found).__name__}: {found}.",
                hint="Is xmc there in this version on every worker? See also the logs of the workers.",
            ) from found


def _require_here(job: dict[str, Any]) -> None:
    require_here(Job.from_dict(job))


class _Until:
    """A watch that drops the shard when an event of the cluster is set; asks for it every `POLL_S`."""

    def __init__(self, stop: str) -> None:
        self._event = _require_distributed().Event(stop)
        self._asked = -math.inf

    def __call__(self, rows: int, size: int) -> None:
        now = time.monotonic()
        if now - self._asked < POLL_S:
            return
        self._asked = now
        if self._event.is_set():
            raise PeerError("the command that asked for this shard has ended.")


def _predictor(job: dict[str, Any]) -> ShardPredictor:
    """The one predictor of this process; another job takes its place."""
    from xmc.predict.shard import ShardPredictor

    key = json.dumps(job, sort_keys=True)
    with _opening:
        if key not in _opened:
            _opened.clear()
            _opened[key] = ShardPredictor.open(Job.from_dict(job))
        return _opened[key]


def _require_distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ConfigError("the engine 'dask' needs Dask.", hint="pip install 'xmc-engine[dask]'") from None
    return distributed


def _cluster(distributed: Any, engine: DaskEngine, job: Job, shards: int) -> Any:
    """Something that yields the address of a scheduler: the given one, or that of processes of this machine.

    Raises: PeerError when these do not start.
    """
    if engine.scheduler:
        return contextlib.nullcontext(engine.scheduler)
    workers = min(engine.workers or (1 if gpus_for(job.device) else cores()), shards)
    try:
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            preload=[__name__],
        )
    except RuntimeError as error:
        raise PeerError(
            f"no Dask cluster starts on this machine: {str(error).rstrip('.')}.",
            hint="Dask's processes import the script that starts them: call it there below if __name__ == '__main__':",
        ) from error


def dask_setup(worker: Any) -> None:
    """What Dask calls in a process that starts for `_cluster`, to which it is named as a `preload`."""
    del worker
    for number in (signal.SIGINT, signal.SIGHUP):  # which reach all processes of a terminal; the engine decides
        signal.signal(number, signal.SIG_IGN)
    # last of what ends the process: to take torch down takes seconds, and after four Dask kills it with a warning
    atexit.register(os._exit, 0)


def _collect(distributed: Any, futures: dict[Any, ShardFile], watch: Watch) -> Generator[Ack | Failure]:
    """Results as they end; the queue lets us look up every `POLL_S` meanwhile."""
    ended: queue.Queue[Any] = queue.Queue()
    for future in futures:
        future.add_done_callback(ended.put)
    left = len(futures)
    while left:
        watch(0, 0)
        try:
            future = ended.get(timeout=POLL_S)
        except queue.Empty:
            continue
        left -= 1
        shard = futures[future]
        try:
            answer = future.result()
        except distributed.KilledWorker as error:
            raise PeerError(
                f"several Dask workers died on {shard.location.shown}: {error}.",
                hint="Is there enough memory on the machines? See also the logs of the workers.",
            ) from error
        except Exception as error:  # Dask raises whatever ended a task on a worker, and words of its own
            raise PeerError(
                f"Dask could not have {shard.location.shown} answered: {type(error).__name__}: {error}.",
                hint="Is the cluster up, with xmc in this version on every worker? See also the logs of the workers.",
            ) from error
        result = understood(shard, answer)
        if isinstance(result, Ack):
            watch(result.rows, shard.size)
        yield result
