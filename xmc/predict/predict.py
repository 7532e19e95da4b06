"""`xmc predict` from Python: `xmc.predict_run(run, shards, out, k=…)`."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from xmc.counted import counted
from xmc.data.shards import natural_key
from xmc.engine.progress import given_progress
from xmc.errors import ConfigError, InterruptedRunError, XmcError
from xmc.given_numbers import true_or_false
from xmc.given_paths import given_path, given_place
from xmc.predict.ack import Ack, output_name
from xmc.predict.allowed import AllowedLabels
from xmc.predict.engine import Failure, open_engine
from xmc.predict.inputs import Inputs
from xmc.predict.job import Job, make_job
from xmc.predict.ledger import Ledger
from xmc.predict.report import PredictReport, Progress, failed_shards
from xmc.retrieve.query_columns import NO_MATCH, OK
from xmc.retrieve.run_state import parts_now
from xmc.store import locked
from xmc.store.location import Location
from xmc.train.signals import StopRequest, stop_on_signals

EARLIER = ("shard of earlier calls is", "shards of earlier calls are")
STAY = "not among these --shards; the hits stay, and are in the manifest."
LOST = "not in the manifest any more: the hits are gone or damaged. To make them again, name the inputs again."
CHANGED = "{} was changed while this ran: these are the hits of its earlier state. For the new one give --overwrite."


def predict_run(
    run: str | Path,
    shards: str | Path | Sequence[str | Path],
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
    Started again after an interruption, it goes on: finished shards stay (with `overwrite` none does). If the input of
    a finished shard was written again since, that is an error, or with `redo_changed` it is answered again. The same
    holds if it lies elsewhere now, unless `moved` says that it is the same file.
    With `skip_failed` shards that cannot be answered are left out. The output folder is described in docs/batch.md.
    Raises: ConfigError when `out` holds the output of another job; LockedError when another process writes there;
    DataError for `allowed` without an id or with one that is no label of the run; FailedShardsError naming the shards
    that could not be answered, after the others were, with the report; InterruptedRunError after a signal;
    ArtifactError when `out` was removed meanwhile, or outputs in it; ArtifactError, PluginError, DeviceError, OSError
    as far as they go.
    """
    started = time.monotonic()
    given_progress(on_progress)
    switches = {"overwrite": overwrite, "redo_changed": redo_changed, "moved": moved, "skip_failed": skip_failed}
    for name, value in switches.items():
        true_or_false(value, name=name)
    chosen = open_engine(engine, workers=workers, scheduler=scheduler)
    labels = None if allowed is None else AllowedLabels.of(given_path(run, name="run"), allowed)
    job = make_job(
        run,
        given_place(out, name="out"),
        k=k,
        batch_rows=batch_rows,
        min_probability=min_probability,
        device=device,
        allowed=labels.sha256 if labels else "",
    )
    parts, inputs = parts_now(Path(job.run)), Inputs.of(shards, job.out)
    with _only_writer(job.out), stop_on_signals() as stop:
        ledger = Ledger(job)
        hint = "Started again without --overwrite, it goes on." if overwrite else "The same command goes on."
        looking = "stopped by a signal while it looked at what is done already."
        found = ledger.examine(
            inputs.shards,
            overwrite=overwrite,
            redo_changed=redo_changed,
            moved=moved,
            before_each=partial(_unless_stopped, stop, looking, hint),
        )
        todo = [shard for name, shard in inputs.shards.items() if name not in found.done]
        watching = _Watching(Progress(len(todo), sum(shard.size for shard in todo)), stop, hint, on_progress)
        answers = _Answers()
        waiting = partial(_unless_stopped, stop, "stopped by a signal before it began.", "Nothing was changed.")
        with chosen.started(job, most=len(todo), waiting=waiting) if todo else contextlib.nullcontext() as crew:
            ledger.claim(found, inputs.shards, allowed=labels)  # only now: with no workers, what it overwrites stays
            done = ledger.located(found.done, inputs.shards)
            if crew:
                with _failures_listed(ledger, answers, inputs):
                    answers.take(crew.map_shards(todo, watch=watching), watching)
        report = _report(job, inputs, done, answers, time.monotonic() - started)
        if answers.failures and not (skip_failed and (done or answers.acks)):
            raise failed_shards(answers.failures, len(todo), listed=ledger.failures.place.shown, report=report)
        earlier, lost = ledger.succeed(done | answers.acks, before_each=partial(watching, 0, 0))
    said = [f"{counted(count, *EARLIER)} {words}" for words, count in ((STAY, earlier), (LOST, lost)) if count]
    if _has_changed(Path(job.run), parts):
        said.append(CHANGED.format(job.run))
    return replace(report, notes=(*report.notes, *said))


def _has_changed(run: Path, parts: tuple[str, ...]) -> bool:
    try:
        return parts_now(run) != parts
    except (XmcError, OSError):  # it is gone
        return True


@dataclass(frozen=True)
class _Watching:
    """Keeps count, tells who wants to know, and ends the work after a signal."""

    progress: Progress
    stop: StopRequest
    hint: str
    on_progress: Callable[[Progress], None] | None

    def __call__(self, rows: int, size: int) -> None:
        self.progress.rows += rows
        self.progress.size += size
        if self.on_progress:
            self.on_progress(self.progress)
        done = f"{self.progress.shards} of {counted(self.progress.total_shards, 'shard is', 'shards are')} done"
        _unless_stopped(self.stop, f"stopped by a signal; {done}.", self.hint)


def _unless_stopped(stop: StopRequest, message: str, hint: str) -> None:
    """Raises: InterruptedRunError after a signal."""
    if stop.signal_number is not None:
        raise InterruptedRunError(message, signal_number=stop.signal_number, hint=hint)


@dataclass
class _Answers:
    """The acknowledgements of shards by the names of their outputs, and why others have none."""

    acks: dict[str, Ack] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def take(self, results: Generator[Ack | Failure], watching: _Watching) -> None:
        """All of them, as they come."""
        with contextlib.closing(results):
            for result in results:
                if isinstance(result, Failure):
                    self.failures.append(result)
                    watching.progress.failed += 1
                    watching(0, result.shard.size)  # done with, as far as the bar goes
                    continue
                self.acks[result.name] = result
                watching.progress.shards += 1
                watching(0, 0)

    def named_failures(self) -> tuple[Mapping[str, str], ...]:
        """Plain values of each failure, in the order of the names."""
        named = (
            {
                "name": output_name(failure.shard),
                "location": failure.shard.location.shown,
                "error": failure.error.message,
                "hint": failure.error.hint,
            }
            for failure in self.failures
        )
        return tuple(sorted(named, key=lambda failure: natural_key(failure["name"])))


@contextlib.contextmanager
def _failures_listed(ledger: Ledger, answers: _Answers, inputs: Inputs) -> Iterator[None]:
    """Name the shards that could not be answered in a file, whatever ends the block."""
    try:
        yield
    finally:
        if answers.failures:
            ledger.failures.record(answers.named_failures(), named=inputs.shards)


@contextlib.contextmanager
def _only_writer(out: Location) -> Iterator[None]:
    """The lock of the output folder; a store has none. Raises: ConfigError when it is a file."""
    if out.local is not None and out.local.exists() and not out.local.is_dir():
        raise ConfigError(f"--out {out.shown} is a file, expected a folder for the hits.", hint="Give another --out.")
    with locked(out.local) if out.local is not None else contextlib.nullcontext():
        yield


def _report(job: Job, inputs: Inputs, earlier: Mapping[str, Ack], answers: _Answers, seconds: float) -> PredictReport:
    statuses: Counter[str] = Counter()
    for name in inputs.shards:
        if ack := earlier.get(name) or answers.acks.get(name):
            statuses.update(ack.statuses)
    now = sum(ack.rows for ack in answers.acks.values())
    return PredictReport(
        out=job.out.shown,
        k=job.k,
        shards=len(inputs.shards),
        skipped=len(earlier),
        rows=now + sum(ack.rows for ack in earlier.values()),
        statuses=dict(statuses),
        rows_now=now,
        seconds=seconds,
        notes=(*inputs.notes, *job.notes, *_no_answers(statuses)),
        failures=answers.named_failures(),
    )


def _no_answers(statuses: Mapping[str, int]) -> tuple[str, ...]:
    """A note when there are rows and none of them has hits."""
    if not statuses or statuses.get(OK) or statuses.get(NO_MATCH):
        return ()
    reasons = ", ".join(f"{count:,} are '{status}'" for status, count in statuses.items())
    return (f"no row has hits: {reasons}; docs/batch.md says what these mean.",)
