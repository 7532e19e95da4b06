"""The runs that a service answers for: searched through a batcher, edited, opened again when they change."""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from xmc.counted import counted
from xmc.engine.labels_report import LabelsReport
from xmc.errors import XmcWarning
from xmc.serve.batcher import Batcher, Timed
from xmc.serve.refusals import RefusedError, refusal_of, too_many_waiting
from xmc.serve.served_run import LabelsChange, ServedRun

if TYPE_CHECKING:
    from xmc.serve.limits import Limits

logger = logging.getLogger("xmc.serve")
Done = TypeVar("Done")


class Service:
    """All runs of a service with the threads that work for it: one searches, one reloads and edits, one reads metadata.

    `open_runs` gives it runs; `close` ends its threads, and `ended` tells when they have.
    """

    def __init__(
        self,
        runs: Mapping[str, ServedRun],
        *,
        limits: Limits,
        window_s: float = 0.002,
        batch_queries: int = 256,
        observe: Callable[[ServedRun, Timed], None],
    ) -> None:
        self.runs = dict(runs)
        self.limits = limits
        self._waiting = 0
        self.searcher = ThreadPoolExecutor(1, thread_name_prefix="xmc-search")
        self._editor = ThreadPoolExecutor(1, thread_name_prefix="xmc-edit")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="xmc-read")
        self._threads = (self.searcher, self._editor, self._reader)
        self._changes: set[Future[LabelsReport]] = set()
        self._begun: set[asyncio.Task[Any]] = set()
        for run in self.runs.values():
            run.batcher = Batcher(
                partial(getattr, run, "now"),
                self.searcher,
                window_s=window_s,
                most_queries=batch_queries,
                most_waiting=limits.waiting,
                observe=partial(observe, run),
            )

    def run(self, name: str | None) -> ServedRun:
        """The run of this name, the first one for None. Raises: RefusedError 404."""
        if name is None:
            return next(iter(self.runs.values()))
        if name not in self.runs:
            raise RefusedError(404, "unknown_run", f"there is no such run here; there are: {', '.join(self.runs)}.")
        return self.runs[name]

    async def searching(self, work: Callable[[], Any]) -> Any:
        """Do something with a model in the thread that searches. Raises: RefusedError 503 when too many are waiting."""
        if self._waiting >= self.limits.waiting:
            raise too_many_waiting(self.limits.waiting)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.searcher, work)
        finally:
            self._waiting -= 1

    async def to_its_end(self, work: Coroutine[Any, Any, Done]) -> Done:
        """What `work` comes to. Where who asked for it is gone, or has waited too long, it goes on all the same."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # heard: it is in the log, see `edit`
        return await asyncio.shield(task)

    async def reload(self, run: ServedRun) -> bool:
        """Open a run again if something was committed to it since; whether it was. Never raises.

        While it is opened, the state that is there answers; where it cannot be opened, that goes on, and
        `reload_error` says why.
        """
        loop = asyncio.get_running_loop()
        async with run.reloading:
            before, with_kept = run.retriever, None
            try:
                while with_kept is not run.has_kept:  # again, where what is kept was first read meanwhile
                    with_kept = run.has_kept
                    now = await loop.run_in_executor(self._editor, run.newest)
                run.now = now
                run.reload_error = ""
                if run.retriever is not before:
                    run.log_state()
                run.log_remarks(before)
            except Exception as error:  # whatever is wrong with the new state: the old one keeps serving
                if not run.reload_error:
                    logger.warning("run %s: the newest state could not be opened", run.name, exc_info=error)
                run.reload_error = f"the newest state could not be opened ({type(error).__name__}); see the log"
            return run.retriever is not before

    async def read_kept(self, run: ServedRun) -> None:
        """See to it that what is kept beside the passages of a run is read, as it is at each `reload` from then on.

        Neither searches nor changes of labels wait for the first time, nor does it for them.
        Raises: ArtifactError when it is damaged.
        """
        async with run.reading:
            while not run.has_kept:
                before = run.now
                now = await asyncio.get_running_loop().run_in_executor(self._reader, run.with_kept)
                if run.now is before:  # else it may be older than the texts that are there now
                    run.now, run.has_kept = now, True
                    if now.searcher is not before.searcher:
                        run.log_state()

    async def watch(self, every_s: float) -> None:
        """Look at all runs every so often, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            for run in self.runs.values():
                await self.reload(run)

    async def edit(self, run: ServedRun, change: LabelsChange) -> LabelsReport:
        """Add, replace or remove labels, and search the new set from here on. Raises: as `ServedRun.edit`."""

        def work() -> LabelsReport:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", XmcWarning)  # the report holds hint and notes
                try:  # logged from here: who asked may be gone, and the service about to stop
                    report = run.edit(change)
                except Exception as error:
                    _log_failure(f"run {run.name}: {change.action} by a request failed", error)
                    raise
            done = counted(report.changed, "label changed", "labels changed")
            if report.changed_metadata:
                done += f", {report.changed_metadata} with other metadata"
            logger.info("run %s: %s by a request, %s", run.name, change.action, done)
            return report

        being_made = self._editor.submit(work)
        self._changes.add(being_made)
        being_made.add_done_callback(self._changes.discard)
        report = await asyncio.wrap_future(being_made)
        await self.reload(run)
        return report

    def close(self) -> None:
        """End the threads; what waits is dropped."""
        for threads in self._threads:
            threads.shutdown(wait=False, cancel_futures=True)

    def ended(self, within_s: float) -> bool:
        """After `close`: whether the threads end so soon. A change of labels that is being made is waited for first."""
        if changes := list(self._changes):
            logger.info("a change of labels is being made; the service stops when it is done")
            wait(changes)
        ending = [Thread(target=threads.shutdown, daemon=True) for threads in self._threads]
        for thread in ending:
            thread.start()
        until_s = time.monotonic() + within_s
        for thread in ending:
            thread.join(max(0.0, until_s - time.monotonic()))
        return not any(thread.is_alive() for thread in ending)


def _log_failure(what: str, error: Exception) -> None:
    """Log why something failed in one line, with the place in the code where it was no mistake of who asked."""
    place = error if refusal_of(error).status == 500 else None
    logger.warning("%s: %s", what, " ".join(f"{type(error).__name__}: {error}".split()), exc_info=place)
