"""`xmc predict` from Python: `xmc.predict_run(run, shards, out, k=…)`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.data.shard_list import ShardFile, list_shards
from xmc.errors import ConfigError, DataError, InterruptedRunError
from xmc.predict.allowed import AllowedLabels
from xmc.predict.engine import Engine, Failure, open_engine
from xmc.predict.job import Job, make_job
from xmc.predict.ledger import Ack, Ledger, output_name
from xmc.store import locked
from xmc.store.location import Location
from xmc.train.signals import StopRequest, stop_on_signals


@dataclass(frozen=True)
class PredictReport:
    """What a prediction did; `skipped` shards were there already, from an earlier call. Rows are of all shards."""

    out: str
    k: int
    shards: int
    skipped: int
    rows: int
    statuses: Mapping[str, int]
    rows_now: int
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        rate = self.rows_now / self.seconds if self.seconds else 0.0
        return {**vars(self), "statuses": dict(self.statuses), "notes": list(self.notes), "rows_per_s": rate}


@dataclass
class Progress:
    """How far a prediction is: `rows`, `size` and `shards` done now, of `total_size` bytes and `total_shards` to do."""

    total_shards: int
    total_size: int
    shards: int = 0
    rows: int = 0
    size: int = 0


def predict_run(
    run: str | Path,
    shards: str,
    out: str | Path,
    *,
    k: int = 10,
    min_probability: float | None = None,
    engine: str = "native",
    workers: int = 0,
    scheduler: str = "",
    batch_rows: int = 1024,
    device: str = "auto",
    overwrite: bool = False,
    allowed: Iterable[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> PredictReport:
    """Answer every row of the `shards` (file, folder or pattern; path or URL), one output shard for each, in `out`.

    With `allowed`, label ids, each row gets the best k of those, as `Retriever.search(..., allowed=)` finds them.
    Started again after an interruption, it goes on: finished shards stay. The output folder is described in
    docs/batch.md.
    Raises: ConfigError when `out` holds the output of another job; LockedError when another process writes there;
    DataError for `allowed` without an id or with one that is no label of the run, and naming the shards that could not
    be answered, after the others were; InterruptedRunError after a signal; ArtifactError, PluginError, OSError as far
    as they go.
    """
    started = time.monotonic()
    chosen = open_engine(engine, workers=workers, scheduler=scheduler)
    labels = None if allowed is None else AllowedLabels.of(Path(run), allowed)
    job = make_job(
        run,
        str(out),
        k=k,
        batch_rows=batch_rows,
        min_probability=min_probability,
        device=device,
        allowed=labels.sha256 if labels else "",
    )
    inputs = pair_outputs(list_shards(shards), job.out)
    with _only_writer(job.out), stop_on_signals() as stop:
        ledger = Ledger(job)
        ledger.begin(inputs, overwrite=overwrite, allowed=labels)
        done = ledger.finished(inputs)
        todo = [shard for name, shard in inputs.items() if name not in done]
        watching = _Watching(Progress(len(todo), sum(shard.size for shard in todo)), stop, on_progress)
        done |= _answers(chosen, job, todo, watching)
        ledger.succeed(done)
    return _report(job, inputs, todo, done, time.monotonic() - started)


@dataclass(frozen=True)
class _Watching:
    """Keeps count, tells who wants to know, and ends the work after a signal."""

    progress: Progress
    stop: StopRequest
    on_progress: Callable[[Progress], None] | None

    def __call__(self, rows: int, size: int) -> None:
        self.progress.rows += rows
        self.progress.size += size
        if self.on_progress:
            self.on_progress(self.progress)
        if self.stop.signal_number is not None:
            raise InterruptedRunError(
                f"stopped by a signal; {self.progress.shards} of {self.progress.total_shards} shards are done.",
                signal_number=self.stop.signal_number,
                hint="The same command goes on.",
            )


def _answers(engine: Engine, job: Job, todo: Sequence[ShardFile], watching: _Watching) -> dict[str, Ack]:
    """The acknowledgements of all shards by name. Raises: DataError when some have none, after the others."""
    answered, failures = {}, []
    with contextlib.closing(engine.map_shards(job, todo, watch=watching)) as results:
        for result in results:
            if isinstance(result, Failure):
                failures.append(result)
                continue
            answered[result.name] = result
            watching.progress.shards += 1
            watching(0, 0)
    if failures:
        raise _failed(failures, len(todo))
    return answered


def pair_outputs(shards: Sequence[ShardFile], out: Location) -> dict[str, ShardFile]:
    """Each output's name with the shard it is made from. Raises: ConfigError when two are one, or an input is one."""
    paired: dict[str, ShardFile] = {}
    inputs = {shard.location for shard in shards}
    for shard in shards:
        name = output_name(shard)
        if out.child(name) in inputs:
            raise ConfigError(
                f"the hits of {shard.location.shown} would overwrite queries in {out.shown}.",
                hint="Give another --out.",
            )
        if name in paired:
            raise ConfigError(
                f"{paired[name].location.shown} and {shard.location.shown} would both write {out.child(name).shown}.",
                hint="Predict them one by one, with an --out each.",
            )
        paired[name] = shard
    return paired


@contextlib.contextmanager
def _only_writer(out: Location) -> Iterator[None]:
    """The lock of the output folder; a store has none."""
    with locked(out.local) if out.local is not None else contextlib.nullcontext():
        yield


def _failed(failures: Sequence[Failure], total: int) -> DataError:
    first = failures[0].error
    if total == 1:
        return first
    others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return DataError(
        f"{len(failures)} of {total} shards could not be answered; the others are done. {first.message}{others}",
        hint=first.hint,
    )


def _report(
    job: Job, inputs: Mapping[str, ShardFile], todo: Sequence[ShardFile], done: Mapping[str, Ack], seconds: float
) -> PredictReport:
    statuses: dict[str, int] = {}
    for name in inputs:
        for status, count in done[name].statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    rows = {name: done[name].rows for name in inputs}
    now = sum(rows[output_name(shard)] for shard in todo)
    return PredictReport(
        out=job.out.shown,
        k=job.k,
        shards=len(inputs),
        skipped=len(inputs) - len(todo),
        rows=sum(rows.values()),
        statuses=statuses,
        rows_now=now,
        seconds=seconds,
        notes=job.notes,
    )
