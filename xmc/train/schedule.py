"""What happens at a step as a pure function of its number, so that a resumed run repeats it exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from xmc.train.bags import Bags
from xmc.train.options import TrainOptions


def learning_rate_share(step: int, total_steps: int, options: TrainOptions) -> float:
    """Share of the peak learning rate at a step (from 0): linear warm-up, then linear or cosine decay to 0, or 1.

    >>> options = TrainOptions(warmup_share=0.5)
    >>> [round(learning_rate_share(step, 4, options), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(options.warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    if options.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * progress)) if options.schedule == "cosine" else 1 - progress


def steps_per_epoch(queries: int, batch_size: int) -> int:
    """Number of batches of an epoch; the last may be smaller."""
    return -(-queries // batch_size)


def step_queries(options: TrainOptions) -> int:
    """The most queries that a step of the optimiser learns from."""
    return options.batch_size * options.accumulate


@dataclass(frozen=True)
class Pool:
    """The rows an epoch draws from: `always` queries that come every time, then `sometimes` of which `drawn` come.

    Where the queries are in `bags`, these are drawn as wholes, and there is nothing that comes sometimes.
    """

    always: int
    sometimes: int = 0
    drawn: int = 0
    bags: Bags | None = None

    @property
    def queries_per_epoch(self) -> int:
        """How many queries an epoch has."""
        return self.always + self.drawn

    def steps(self, size: int) -> int:
        """Number of steps of an epoch when a step has at most `size` queries; bags stay whole."""
        if self.bags is None:
            return steps_per_epoch(self.queries_per_epoch, size)
        return steps_per_epoch(len(self.bags), self.bags.at_once(size))


def batch_rows(step: int, pool: Pool, options: TrainOptions) -> np.ndarray[Any, Any]:
    """The query rows of a step; which rows an epoch has, and their order, come from (seed, epoch)."""
    size = step_queries(options)
    epoch, position = divmod(step, pool.steps(size))
    if pool.bags is None:
        return _epoch_order(options.seed, epoch, pool)[position * size : (position + 1) * size]
    at_once = pool.bags.at_once(size)
    return pool.bags.rows(_bag_order(options.seed, epoch, pool.bags)[position * at_once : (position + 1) * at_once])


def epoch_rows(epoch: int, pool: Pool, options: TrainOptions) -> np.ndarray[Any, Any]:
    """All query rows of an epoch, in the order of its steps."""
    if pool.bags is None:
        return _epoch_order(options.seed, epoch, pool)
    return pool.bags.rows(_bag_order(options.seed, epoch, pool.bags))


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, pool: Pool) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng([seed, 0, epoch])
    extra = pool.always + generator.choice(pool.sometimes, pool.drawn, replace=False)
    return generator.permutation(np.concatenate((np.arange(pool.always), extra)))


@lru_cache(maxsize=2)
def _bag_order(seed: int, epoch: int, bags: Bags) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, 0, epoch]).permutation(len(bags))


def step_generator(step: int, options: TrainOptions, *, stream: int = 1) -> np.random.Generator:
    """Random numbers of a step, independent of every other step and of every other stream (1: label samples)."""
    return np.random.default_rng([options.seed, stream, step])
