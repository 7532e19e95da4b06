"""How an index is measured: recall on all queries, the rate in batches, the time of one query.

Shapes: Q queries, E width of a vector, B batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmc.checks.intervals import mean_figures
from xmc.index_contract import Index
from xmc.retrieve.batch import concatenate_hits
from xmc.tune.reference import Reference
from xmc.values import Hits

Clock = Callable[[], float]
BOOTSTRAP_SAMPLES = 1000
SINGLES = 101  # queries asked one at a time, fewer where they take long
FEWEST_SINGLES = 11
SINGLES_S = 0.3
TURNS = 9  # odd, so that the median is one of them


@dataclass(frozen=True)
class Reading:
    """Mean recall with its 95 % interval, queries a second in batches, median seconds of one query."""

    recall: float
    low: float
    high: float
    queries_per_s: float
    latency_s: float


@dataclass(frozen=True, eq=False)
class Ruler:
    """Queries with their exact answers, and how to ask them."""

    reference: Reference
    k: int
    batch_size: int
    seed: int = 0
    clock: Clock = time.perf_counter

    def read(self, index: Index) -> Reading:
        """Measure an index; the first batch and the first query are asked twice, and count the second time."""
        seconds, hits = self._ask_batches(index)
        shares_Q1 = self.reference.shares(hits)[:, None]
        (recall,) = mean_figures(shares_Q1, samples=BOOTSTRAP_SAMPLES, seed=self.seed)
        low, high = (recall.value if end is None else end for end in (recall.low, recall.high))
        rate = self.batch_size / max(statistics.median(seconds), 1e-9)
        return Reading(recall.value, low, high, rate, self._latency(index))

    def faster(self, challenger: Index, champion: Index) -> float:
        """How many times as fast the challenger answers, both asked in turn so that a slow moment hits both alike.

        Each turn has other queries, and the other one begins: neither finds its labels in a cache.
        """
        batches = self._batches()
        both = (challenger, champion)
        for index in both:
            self._ask(index, batches[0])
        ratios = []
        for turn in range(1, TURNS + 1):
            rows_B = batches[turn % len(batches)]
            seconds = {}
            for who in (0, 1) if turn % 2 else (1, 0):
                seconds[who], _ = self._ask(both[who], rows_B)
            ratios.append(seconds[1] / max(seconds[0], 1e-9))
        return statistics.median(ratios)

    def _batches(self) -> Sequence[np.ndarray[Any, Any]]:
        """All queries in full batches; the last one is filled up with the first queries."""
        batches = -(-len(self.reference) // self.batch_size)
        rows = np.arange(batches * self.batch_size) % len(self.reference)
        return np.split(rows, batches)

    def _ask_batches(self, index: Index) -> tuple[list[float], Hits]:
        batches = self._batches()
        self._ask(index, batches[0])
        answers = [self._ask(index, rows_B) for rows_B in batches]
        hits = concatenate_hits([hits for _, hits in answers])
        last = len(self.reference)
        end = int(hits.offsets[last])
        return [taken for taken, _ in answers], Hits(hits.offsets[: last + 1], hits.label_rows[:end], hits.scores[:end])

    def _latency(self, index: Index) -> float:
        """Median over up to 101 queries, at least 11 (the same ones again where there are fewer)."""
        rows = np.arange(max(FEWEST_SINGLES, min(SINGLES, len(self.reference)))) % len(self.reference)
        self._ask(index, rows[:1])
        started, seconds = self.clock(), []
        for row in rows:
            seconds.append(self._ask(index, np.array([row]))[0])
            if len(seconds) >= FEWEST_SINGLES and self.clock() - started > SINGLES_S:
                break
        return statistics.median(seconds)

    def _ask(self, index: Index, rows_B: np.ndarray[Any, Any]) -> tuple[float, Hits]:
        queries_BE = self.reference.queries_QE[torch.from_numpy(rows_B)]
        started = self.clock()
        hits = index.search(queries_BE, self.k)
        return self.clock() - started, hits
