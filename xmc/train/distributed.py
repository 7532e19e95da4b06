"""What the processes (ranks) that train one model together tell each other.

Every rank runs the same program over the same data and holds the same encoder. A step's queries and labels are split:
each rank embeds its share, label vectors are gathered, gradients are summed. All that decides anything (the loss, the
norm of the gradient, a signal, an error) is agreed, so that all ranks do the same. Alone, everything here does nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from xmc import errors
from xmc.errors import PeerError, XmcError

IntArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; the default is one alone.

    >>> Ranks(1, 3).share(10)
    slice(3, 6, None)
    """

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the rank that writes files and shows progress."""
        return self.rank == 0

    def shares(self, count: int) -> list[slice]:
        """The contiguous, half-open shares of `count` things, one a rank; their sizes differ by at most 1.

        >>> Ranks(0, 3).shares(2)
        [slice(0, 0, None), slice(0, 1, None), slice(1, 2, None)]
        """
        bounds = [count * rank // self.size for rank in range(self.size + 1)]
        return [slice(start, stop) for start, stop in pairwise(bounds)]

    def share(self, count: int) -> slice:
        """This rank's share."""
        return self.shares(count)[self.rank]

    def places(self, count: int, batch_size: int) -> list[IntArray]:
        """Which of a step's `count` queries each rank has: its share of every batch of the step.

        >>> [places.tolist() for places in Ranks(0, 2).places(7, 4)]
        [[0, 1, 4], [2, 3, 5, 6]]
        """
        starts = range(0, count, batch_size)
        shares = [(start, self.shares(min(batch_size, count - start))) for start in starts]
        return [
            np.concatenate([np.arange(start + own[rank].start, start + own[rank].stop) for start, own in shares])
            for rank in range(self.size)
        ]

    def fill_rows(self, whole_ND: Tensor, shares: Sequence[slice]) -> None:
        """Fill in the rows of the other ranks; each rank has written those of its own share."""
        self._for_each_share(whole_ND, shares, dist.broadcast)

    def sum_rows(self, whole_ND: Tensor, shares: Sequence[slice]) -> Tensor:
        """The sum over the ranks of this rank's share of rows, as a view; the other rows are lost."""
        self._for_each_share(whole_ND, shares, dist.reduce)
        return whole_ND[shares[self.rank]]

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the ranks, in place, the same bits on each."""
        if self.size > 1:
            with _peers():
                dist.all_reduce(value)
        return value

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each number over the ranks."""
        if self.size == 1:
            return list(numbers)
        agreed = torch.tensor(numbers, dtype=torch.int64)
        with _peers():
            dist.all_reduce(agreed, op=dist.ReduceOp.MAX)
        return agreed.tolist()

    def gather(self, value: Tensor) -> Tensor:
        """This tensor of every rank, one after the other along a new first dimension."""
        whole = value.new_empty((self.size, *value.shape))
        whole[self.rank] = value
        self.fill_rows(whole, self.shares(self.size))
        return whole

    def gather_places(self, own: Tensor, places: Sequence[IntArray]) -> Tensor:
        """One tensor of all ranks' rows: those of rank r, in its order, at `places[r]`."""
        if self.size == 1:
            return own
        ends = np.cumsum([len(part) for part in places]).tolist()
        shares = [slice(end - len(part), end) for end, part in zip(ends, places, strict=True)]
        blocks = own.new_empty((ends[-1], *own.shape[1:]))
        blocks[shares[self.rank]] = own
        self.fill_rows(blocks, shares)
        whole = torch.empty_like(blocks)
        whole[torch.from_numpy(np.concatenate(places)).to(own.device)] = blocks
        return whole

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run the block on every rank; an XmcError of one is raised by all, that of the lowest rank.

        Inside the block nothing may wait for the other ranks.
        """
        if self.size == 1:
            yield
            return
        error: XmcError | None = None
        try:
            yield
        except XmcError as raised:
            error = raised
        failed = self.size - self.largest([self.size - self.rank if error else 0])[0]
        if failed < self.size:
            said = self._text(_describe(error) if error else "", of=failed)
            raise error if error and failed == self.rank else _as_error(said)

    def wait(self) -> None:
        """Until every rank is here."""
        self.largest([0])

    def require_same(self, tensors: Iterable[Tensor], *, what: str) -> None:
        """Raise a PeerError when a rank's tensors are not those of the others, judged by the sums of their sizes."""
        if self.size > 1:
            sums = self.gather(torch.stack([t.detach().abs().sum(dtype=torch.float64).cpu() for t in tensors]))
            if not torch.allclose(sums, sums[:1].expand_as(sums), rtol=1e-6):
                raise PeerError(f"the {what} of the processes have drifted apart.", hint="Go on with --resume.")

    def _for_each_share(self, whole_ND: Tensor, shares: Sequence[slice], operation: Any) -> None:
        if self.size > 1:
            filled = [(rank, share) for rank, share in enumerate(shares) if share.stop > share.start]
            with _peers():
                for work in [operation(whole_ND[share], rank, async_op=True) for rank, share in filled]:
                    work.wait()

    def _text(self, text: str, *, of: int) -> str:
        """The text of one rank, on every rank."""
        sent = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor([len(sent)])
        with _peers():
            dist.broadcast(length, of)
            received = sent if self.rank == of else torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(received, of)
        return bytes(received.tolist()).decode()


ALONE = Ranks()


@contextmanager
def _peers() -> Iterator[None]:
    """Turn the failure of a transfer, which means that another process is gone or hangs, into a PeerError."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S+\] ", "", str(error).strip()).partition("\n")[0].partition(". ")[0]
        raise PeerError(
            f"another process of this run ended or fell silent ({reason.rstrip('.')}).",
            hint="See what it said last. The last checkpoint is intact: go on with --resume.",
        ) from error


def _describe(error: XmcError) -> str:
    return json.dumps([type(error).__name__, error.message, error.hint])


def _as_error(described: str) -> XmcError:
    name, message, hint = json.loads(described)
    made: XmcError = getattr(errors, name, XmcError)(message, hint=hint)
    return made
