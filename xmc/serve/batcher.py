"""Dynamic batching: requests that come while a search is under way are searched together in the next one.

A request that comes alone is searched at once. Only where requests have just been searched together does the next
search wait `window_s` for those whose clients are about to ask again: without it 64 clients end up in two halves, one
of which waits while the other is answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xmc.serve.batch_search import Answer, Ask, answer_batch
from xmc.serve.refusals import too_many_waiting

if TYPE_CHECKING:
    from xmc.retrieve.passages_now import PassagesNow


@dataclass(frozen=True)
class Timed:
    """An answer with the seconds it waited and was searched for, and the queries that were searched with it."""

    answer: Answer
    waited_s: float
    searched_s: float
    batch_queries: int


@dataclass(frozen=True, eq=False)
class _Waiting:
    ask: Ask
    since_s: float
    future: asyncio.Future[Timed]


class Batcher:
    """The queue before one run's search. Belongs to one event loop; the search runs in `executor`.

    `now` is asked for at each batch, so that a batch is answered by one state of the run and the next one by the
    newest. A batch holds at most `most_queries` queries, but always a whole request.
    """

    def __init__(
        self,
        now: Callable[[], PassagesNow],
        executor: Executor,
        *,
        window_s: float = 0.002,
        most_queries: int = 256,
        most_waiting: int = 256,
        observe: Callable[[Timed], None] = lambda timed: None,
    ) -> None:
        self._now = now
        self._executor = executor
        self._window_s = window_s
        self._most_queries = most_queries
        self._most_waiting = most_waiting
        self._observe = observe
        self._queue: deque[_Waiting] = deque()
        self._drain: asyncio.Task[None] | None = None
        self._in_company = False

    def __len__(self) -> int:
        """Requests that wait for their search."""
        return len(self._queue)

    async def ask(self, ask: Ask) -> Timed:
        """The answer to a request.

        Raises: RefusedError 503 when as many wait as may; what the search raised.
        """
        if len(self._queue) >= self._most_waiting:
            raise too_many_waiting(self._most_waiting)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(ask, loop.time(), loop.create_future())
        self._queue.append(waiting)
        if self._drain is None or self._drain.done():
            self._drain = loop.create_task(self._search_all())
        return await waiting.future

    async def _search_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            if self._window_s and self._in_company:
                await asyncio.sleep(self._window_s)
            batch = self._next_batch()
            if not batch:
                continue
            self._in_company = len(batch) > 1
            asks = [waiting.ask for waiting in batch]
            started_s, searched_s = loop.time(), 0.0
            try:
                answers, started_s, searched_s = await loop.run_in_executor(
                    self._executor, _timed_batch, self._now(), asks
                )
            except Exception as error:  # the executor is shut down, say: those who wait must hear of it
                answers = [error] * len(batch)
            queries = sum(len(ask.queries) for ask in asks)
            for waiting, answer in zip(batch, answers, strict=True):
                self._settle(waiting, answer, started_s - waiting.since_s, searched_s, queries)

    def _next_batch(self) -> list[_Waiting]:
        """The longest-waiting requests whose clients are still there, as many as fit."""
        batch: list[_Waiting] = []
        queries = 0
        while self._queue:
            queries += len(self._queue[0].ask.queries)
            if batch and queries > self._most_queries:
                break
            waiting = self._queue.popleft()
            if waiting.future.done():  # its client is gone, or has waited too long
                queries -= len(waiting.ask.queries)
                continue
            batch.append(waiting)
        return batch

    def _settle(
        self, waiting: _Waiting, answer: Answer | Exception, waited_s: float, searched_s: float, queries: int
    ) -> None:
        if waiting.future.done():
            return
        if isinstance(answer, Exception):
            waiting.future.set_exception(answer)
            return
        timed = Timed(answer, waited_s, searched_s, queries)
        self._observe(timed)
        waiting.future.set_result(timed)


def _timed_batch(now: PassagesNow, asks: list[Ask]) -> tuple[list[Answer | Exception], float, float]:
    """The answers, when the search began and how long it took; on the clock of event loops.

    Measured in the thread that searches: before, a batch may wait for that of another run.
    """
    started_s = time.monotonic()
    answers = answer_batch(now, asks)
    return answers, started_s, time.monotonic() - started_s
