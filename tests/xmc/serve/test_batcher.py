"""Requests searched together get what each would get alone, and none waits in vain."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xmc.errors import ConfigError, DataError
from xmc.retrieve.passages_now import PassagesNow
from xmc.serve.batch_search import Ask, Wish, answer_batch
from xmc.serve.batcher import Batcher
from xmc.serve.label_conditions import Ids, Joined, Not, filter_of
from xmc.serve.refusals import RefusedError

TEXTS = ["red apple", "green pear", "old house", "blue sea", "a tram"]


def test_a_batch_of_different_wishes(offline):
    some = Ids(tuple(offline.labels.ids[:5]))
    wishes = [
        Wish(3), Wish(7), Wish(3, min_probability=0.3), Wish(3, condition=some), Wish(3, condition=Not(some)),
        Wish(3, condition=Joined("or", (some, Ids((offline.labels.ids[9],))))), Wish(1, sets=(0.3, "coverage")),
        Wish(3, certify=True),
    ]  # fmt: skip
    asks = [Ask(TEXTS[start:stop], wish) for wish in wishes for start, stop in ((0, 2), (2, 3), (1, 5))]
    asks += [Ask(offline.encode(TEXTS).tolist(), Wish(4, vectors=True))]
    now = PassagesNow(offline)
    together = answer_batch(now, asks)
    assert together == [answer_batch(now, [ask])[0] for ask in asks]
    assert [len(answer.lists) for answer in together] == [len(ask.queries) for ask in asks]
    assert {hit.label_id for hit in together[9].lists[0]} <= set(some.ids)
    assert not {hit.label_id for hit in together[12].lists[0]} & set(some.ids)


def test_a_request_that_fails_spoils_no_other(offline):
    asks = [Ask([text], Wish(3)) for text in ("red apple", " ", "old house")]
    good, bad, also_good = answer_batch(PassagesNow(offline), asks)
    assert isinstance(bad, DataError)
    assert [good.lists[0], also_good.lists[0]] == offline.search(["red apple", "old house"], k=3)


def test_strict_ids_must_be_there(offline):
    now = PassagesNow(offline)
    with pytest.raises(DataError, match="not there"):
        filter_of(Ids(("nobody",), strict=True), now)
    assert len(filter_of(Ids(("nobody",)), now)) == 0


class Slow:
    """An offline retriever whose first search waits for `go`, and which remembers how many texts each search had."""

    def __init__(self, retriever):
        self._retriever = retriever
        self.go, self.sizes = threading.Event(), []

    def __getattr__(self, name):
        return getattr(self._retriever, name)

    def search(self, texts, **options):
        self.sizes.append(len(texts))
        self.go.wait(10)
        return self._retriever.search(texts, **options)


def run_with(retriever, work, **options):
    async def main():
        with ThreadPoolExecutor(1) as executor:
            return await work(Batcher(lambda: PassagesNow(retriever), executor, **options))

    return asyncio.run(main())


def test_what_comes_during_a_search_is_searched_together(offline):
    slow = Slow(offline)

    async def work(batcher):
        first = asyncio.create_task(batcher.ask(Ask(["red apple"], Wish(3))))
        while not slow.sizes:
            await asyncio.sleep(0.001)
        later = [asyncio.create_task(batcher.ask(Ask([text], Wish(3)))) for text in TEXTS * 3]
        await asyncio.sleep(0.01)
        assert len(batcher) == len(later)
        slow.go.set()
        return await asyncio.gather(first, *later)

    answers = run_with(slow, work, most_queries=10)
    assert slow.sizes == [1, 10, 5]
    assert [timed.answer.lists[0] for timed in answers[1:]] == offline.search(TEXTS * 3, k=3)
    assert {timed.batch_queries for timed in answers} == {1, 10, 5} and answers[-1].waited_s > 0


def test_only_in_company_does_a_search_wait_for_more(offline):
    slow = Slow(offline)
    slow.go.set()

    async def work(batcher):
        async def at(turn, number):
            await asyncio.sleep(0.1 * turn)
            return await batcher.ask(Ask([TEXTS[number]], Wish(3)))

        alone = await at(0, 0)  # at once
        together = await asyncio.gather(at(0, 1), at(0, 2))  # at once, and now there is company
        waited = await asyncio.gather(at(0, 1), at(1, 2), at(2, 3))  # the first of these waits for the others
        return [alone, *together], waited

    at_once, waited = run_with(slow, work, window_s=0.5)
    assert slow.sizes == [1, 2, 3]
    assert all(timed.waited_s < 0.25 for timed in at_once) and waited[0].waited_s > 0.4


def test_a_request_of_more_queries_than_a_batch_is_searched_by_itself(offline):
    async def work(batcher):
        return await asyncio.gather(*(batcher.ask(Ask(TEXTS, Wish(3))) for _ in range(3)))

    assert [timed.batch_queries for timed in run_with(offline, work, most_queries=1)] == [len(TEXTS)] * 3


def test_too_many_that_wait_are_sent_away(offline):
    slow = Slow(offline)

    async def work(batcher):
        tasks = [asyncio.create_task(batcher.ask(Ask(["a"], Wish(3)))) for _ in range(8)]
        await asyncio.sleep(0.05)
        slow.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = run_with(slow, work, most_waiting=4)
    refused = [answer for answer in answers if isinstance(answer, RefusedError)]
    assert len(refused) == 4 and {error.status for error in refused} == {503}
    assert refused[0].headers == {"retry-after": "1"}


def test_who_has_gone_is_not_searched_for(offline):
    slow = Slow(offline)

    async def work(batcher):
        tasks = [asyncio.create_task(batcher.ask(Ask([text], Wish(3)))) for text in TEXTS]
        while not slow.sizes:
            await asyncio.sleep(0.001)
        gone = asyncio.create_task(batcher.ask(Ask(["gone"], Wish(3))))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0)
        slow.go.set()
        await asyncio.gather(*tasks)

    run_with(slow, work)
    assert sum(slow.sizes) == len(TEXTS)


def test_an_executor_that_is_gone_is_an_error_and_no_silence(offline):
    async def main():
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        await Batcher(lambda: PassagesNow(offline), executor).ask(Ask(["a"], Wish(3)))

    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(main())


def test_errors_reach_the_one_who_asked(offline):
    async def work(batcher):
        return await batcher.ask(Ask(["a"], Wish(20_000)))

    with pytest.raises(ConfigError, match="k must lie"):
        run_with(offline, work)
