"""From the caller's stream of chunks to blocks of one size, so that an index depends on the vectors alone.

Shapes: N rows of a block, L labels, D width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import ConfigError, normalise_rows, validate_chunks

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_ROWS = 16_384
LARGEST_FLOAT16 = 65_504
STEP_FLOAT16 = 2.0**-24  # between the smallest numbers
FEWEST_STEPS = 256  # that the largest number must be: with fewer a code of 8 bits holds more of it


def label_blocks(embeddings: Iterable[Tensor], similarity: str) -> Iterator[np.ndarray[Any, Any]]:
    """Checked float32 blocks of `BLOCK_ROWS` label vectors, the last one smaller, however the stream is cut.

    Raises: DataError when there is no vector or widths differ; NonFiniteError naming rows.
    """
    pending: list[np.ndarray[Any, Any]] = []
    waiting = 0
    for chunk in validate_chunks(embeddings):
        part_ND = chunk.cpu().numpy()
        if similarity == "cosine":
            part_ND = normalise_rows(part_ND)
        while waiting + len(part_ND) >= BLOCK_ROWS:
            cut = BLOCK_ROWS - waiting
            yield np.concatenate([*pending, part_ND[:cut]])
            pending, waiting, part_ND = [], 0, part_ND[cut:]
        if len(part_ND):
            pending.append(part_ND)
            waiting += len(part_ND)
    if pending:
        yield np.concatenate(pending)


def largest_number(vectors_ND: np.ndarray[Any, Any]) -> float:
    """The largest absolute value, without a copy of the vectors."""
    return max(float(vectors_ND.max()), -float(vectors_ND.min()))


def require_float16(largest: float, *, option: str, instead: str) -> None:
    """Refuse numbers up to `largest` where float16 would make them infinite, or all of them zero or nearly so.

    Raises: ConfigError.

    >>> require_float16(70_000, option="float16", instead="Use sq8.")
    Traceback (most recent call last):
    xmc.errors.ConfigError: float16 is for numbers up to 65,504, and the label vectors need up to 70,000. Use sq8.
    """
    if largest > LARGEST_FLOAT16:
        raise ConfigError(
            f"{option} is for numbers up to {LARGEST_FLOAT16:,}, and the label vectors need up to {largest:,.0f}.",
            hint=instead,
        )
    if 0 < largest < FEWEST_STEPS * STEP_FLOAT16:
        raise ConfigError(
            f"{option} has no steps below {STEP_FLOAT16:.1g}, and the label vectors no numbers above {largest:.2g}: "
            "too little of them would be left.",
            hint=f"{instead} Or scale the label vectors up.",
        )


class HeldBlocks:
    """A stream held in memory once, for indexes that must be trained before they can take vectors."""

    def __init__(self, blocks: Iterable[np.ndarray[Any, Any]]) -> None:
        self._blocks = deque(blocks)
        self.labels = sum(len(block_ND) for block_ND in self._blocks)
        self.dimension = self._blocks[0].shape[1]

    def largest_number(self) -> float:
        """The largest absolute value among all vectors."""
        return max(largest_number(block_ND) for block_ND in self._blocks)

    def sample(self, rows: int, *, seed: int) -> np.ndarray[Any, Any]:
        """So many of the vectors, drawn without repetition, in row order; all of them when there are no more."""
        chosen = np.arange(self.labels)
        if rows < self.labels:
            chosen = np.sort(np.random.default_rng(seed).choice(self.labels, rows, replace=False))
        starts = np.arange(0, self.labels, BLOCK_ROWS)
        cuts = np.searchsorted(chosen, [*starts, self.labels])
        parts = [
            block_ND[chosen[low:high] - start]
            for block_ND, start, low, high in zip(self._blocks, starts, cuts[:-1], cuts[1:], strict=True)
        ]
        return np.concatenate(parts)

    def consume(self) -> Iterator[np.ndarray[Any, Any]]:
        """Each block in turn, forgotten here as it is handed out, so that two copies never exist."""
        while self._blocks:
            yield self._blocks.popleft()
