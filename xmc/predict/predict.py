"""`xmc predict` from Python: `xmc.predict_run(run, shards, out, k=…)`."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xmc.data.shard_list import ShardFile
from xmc.data.shards import natural_key
from xmc.errors import InterruptedRunError
from xmc.predict.ack import Ack, output_name
from xmc.predict.allowed import AllowedLabels
from xmc.predict.engine import Engine, Failure, open_engine
from xmc.predict.inputs import Inputs
from xmc.predict.job import Job, make_job
from xmc.predict.ledger import Ledger
from xmc.predict.report import PredictReport, Progress, failed_shards
from xmc.store import locked
from xmc.store.location import Location
from xmc.train.signals import StopRequest, stop_on_signals

EARLIER = "{:,} shards of earlier calls are not among these --shards; their hits stay, and are in the manifest."


def predict_run(
    run: str | Path,
    shards: str | Sequence[str],
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
    redo_changed: bool = False,
    moved: bool = False,
    skip_failed: bool = False,
    allowed: Iterable[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> PredictReport:
    """Answer every row of the `shards` (file, folder or pattern, path or URL, or several), one output each, in `out`.

    With `allowed`, label ids, each row gets the best k of those, as `Retriever.search(..., allowed=)` finds them.
    Started again after an interruption, it goes on: finished shards stay. Of these, inputs that were written again are
    refused, or answered again with `redo_changed`; inputs that lie elsewhere are refused, unless they have `moved`.
    With `skip_failed` shards that cannot be answered are left out. The output folder is described in docs/batch.md.
    Raises: ConfigError when `out` holds the output of another job; LockedError when another process writes there;
    DataError for `allowed` without an id or with one that is no label of the run; FailedShardsError naming the shards
    that could not be answered, after the others were, with the report; InterruptedRunError after a signal;
    ArtifactError, PluginError, OSError as far as they go.
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
    inputs = Inputs.of(shards, job.out)
    with _only_writer(job.out), stop_on_signals() as stop:
        ledger = Ledger(job)
        done = ledger.begin(inputs.shards, overwrite=overwrite, redo_changed=redo_changed, moved=moved, allowed=labels)
        todo = [shard for name, shard in inputs.shards.items() if name not in done]
        watching = _Watching(Progress(len(todo), sum(shard.size for shard in todo)), stop, on_progress)
        answered, failures = _answers(chosen, job, todo, watching)
        report = _report(job, inputs, done, answered, failures, time.monotonic() - started)
        if failures:
            listed = ledger.record(report.failures)
            if not skip_failed or not (done or answered):
                raise failed_shards(failures, len(todo), listed=listed.shown, report=report)
        earlier = ledger.succeed(done | answered)
    return replace(report, notes=(*report.notes, EARLIER.format(earlier))) if earlier else report


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


def _answers(
    engine: Engine, job: Job, todo: Sequence[ShardFile], watching: _Watching
) -> tuple[dict[str, Ack], list[Failure]]:
    """The acknowledgements of shards by the names of their outputs, and why others have none."""
    answered, failures = {}, []
    with contextlib.closing(engine.map_shards(job, todo, watch=watching)) as results:
        for result in results:
            if isinstance(result, Failure):
                failures.append(result)
                watching.progress.failed += 1
                continue
            answered[result.name] = result
            watching.progress.shards += 1
            watching(0, 0)
    return answered, failures


@contextlib.contextmanager
def _only_writer(out: Location) -> Iterator[None]:
    """The lock of the output folder; a store has none."""
    with locked(out.local) if out.local is not None else contextlib.nullcontext():
        yield


def _report(
    job: Job,
    inputs: Inputs,
    earlier: Mapping[str, Ack],
    answered: Mapping[str, Ack],
    failures: Sequence[Failure],
    seconds: float,
) -> PredictReport:
    statuses: Counter[str] = Counter()
    for name in inputs.shards:
        if ack := earlier.get(name) or answered.get(name):
            statuses.update(ack.statuses)
    now = sum(ack.rows for ack in answered.values())
    failed = (
        {
            "name": output_name(failure.shard),
            "location": failure.shard.location.shown,
            "error": failure.error.message,
            "hint": failure.error.hint,
        }
        for failure in failures
    )
    return PredictReport(
        out=job.out.shown,
        k=job.k,
        shards=len(inputs.shards),
        skipped=len(earlier),
        rows=now + sum(ack.rows for ack in earlier.values()),
        statuses=dict(statuses),
        rows_now=now,
        seconds=seconds,
        notes=(*inputs.notes, *job.notes),
        failures=tuple(sorted(failed, key=lambda failure: natural_key(failure["name"]))),
    )
