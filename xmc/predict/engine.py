"""What runs a job's shards: `native` (processes of this machine), `ray` and `dask` (a cluster, or a local one).

An engine only carries: each shard is answered by `ShardPredictor.predict`, which alone writes, so that the output has
the same bytes whoever carried it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from xmc import errors
from xmc.data.shard_list import ShardFile
from xmc.errors import ConfigError, DataError, XmcError, did_you_mean
from xmc.given_names import given_name
from xmc.given_numbers import whole_number
from xmc.predict.ack import Ack
from xmc.predict.job import Job, Watch
from xmc.predict.scheduler import require_reachable

ENGINES = ("native", "ray", "dask")
TRIES = 3  # of a shard whose worker died under it


@dataclass(frozen=True)
class Failure:
    """A shard that cannot be answered, because of the shard itself; the others go on."""

    shard: ShardFile
    error: DataError


class Workers(Protocol):
    """Workers that load the retriever once each."""

    def map_shards(self, shards: Sequence[ShardFile], *, watch: Watch) -> Generator[Ack | Failure]:
        """Each shard's acknowledgement, or why it has none, in any order, as they end; one call.

        `watch` hears rows and input bytes that are done, and is called at least twice a second: what it raises ends the
        work; the shards that are under way are then dropped and leave nothing.
        Raises: what is wrong with all shards, such as a damaged run or a full disk.
        """


class Engine(Protocol):
    """Runs the shards of a job on a machine or a cluster."""

    def started(self, job: Job, *, most: int, waiting: Callable[[], None]) -> AbstractContextManager[Workers]:
        """Workers for at least one and at most so many shards, until the block ends.

        A cluster is joined, or started, here, so that one that is not there costs nothing but an error, and so does a
        worker of it that lacks the run or the device. `waiting` is called while they are waited for, and ends
        that with what it raises.
        Raises: PeerError when it cannot be; as `xmc.predict.job.require_here`.
        """


def open_engine(name: str, *, workers: int, scheduler: str = "") -> Engine:
    """The engine of that name; `workers` 0 means as many as there are cores (native) or as the cluster offers.

    Raises: ConfigError for an unknown name, or when the library it needs is not installed; PeerError when nobody
    answers at the address.
    """
    workers = whole_number(workers, name="workers")
    if workers < 0:
        raise ConfigError(f"workers must be at least 1 (0 chooses), got {workers:,}.")
    name = given_name(name, name="engine")
    if scheduler and name == "native":
        raise ConfigError("--scheduler is for --engine ray and dask.", hint="Leave it out, or name an engine.")
    if name == "native":
        from xmc.predict.native import NativeEngine

        return NativeEngine(workers)
    if name == "ray":
        from xmc.predict.on_ray import RayEngine

        engine: Engine = RayEngine(workers, scheduler)
    elif name == "dask":
        from xmc.predict.on_dask import DaskEngine

        engine = DaskEngine(workers, scheduler)
    else:
        known = did_you_mean(name, ENGINES)
        raise ConfigError(f"unknown engine '{name}'. {known}".strip(), hint=f"One of: {', '.join(ENGINES)}.")
    require_reachable(scheduler)
    return engine


def answered(action: Callable[[], Ack]) -> dict[str, Any]:
    """Call and put acknowledgement or error into plain values, which travel better than exceptions.

    >>> def fail() -> Ack:
    ...     raise DataError("a.parquet: no.", hint="Mend it.")
    >>> answered(fail)
    {'error': 'DataError', 'message': 'a.parquet: no.', 'hint': 'Mend it.'}
    """
    try:
        return {"ack": action().to_dict()}
    except XmcError as error:
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    except OSError as error:
        return {"error": "OSError", "message": [error.errno, error.strerror or str(error), error.filename], "hint": ""}
    except (MemoryError, RuntimeError, ValueError) as error:
        return {"error": type(error).__name__, "message": str(error), "hint": ""}


def understood(shard: ShardFile, answer: dict[str, Any]) -> Ack | Failure:
    """What `answered` put into plain values.

    Raises: the error, unless it is the shard's own.
    """
    if "ack" in answer:
        return Ack(**answer["ack"])
    name, message, hint = answer["error"], answer["message"], answer["hint"]
    if name == "OSError":
        raise OSError(*message) if message[0] is not None else OSError(f"{message[2] or ''} {message[1]}".strip())
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, DataError):
        return Failure(shard, kind(message, hint=hint))
    if isinstance(kind, type) and issubclass(kind, XmcError):
        raise XmcError(message, hint=hint) if kind is errors.InterruptedRunError else kind(message, hint=hint)
    if name == "MemoryError":
        raise MemoryError(message)
    raise RuntimeError(f"{shard.location.shown}: {name}: {message}")
