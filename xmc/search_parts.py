"""A large batch in parts, each searched by a thread of its own.

A search has many small steps between the large ones. Torch's threads share each of them and wait for one another after
it, and numpy has one thread; threads that each search a part share nothing but the labels.

Shapes: Q queries, D dimension.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any, TypeVar

from xmc.values import Hits

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Rows = TypeVar("Rows", Tensor, np.ndarray[Any, Any])

FEWEST = 32  # queries of a part: so many multiplications for each label that is read from memory

_executors: dict[tuple[int, int], ThreadPoolExecutor] = {}  # by process and number of threads


def search_in_parts(
    search: Callable[[Rows], Hits], queries_QD: Rows, *, threads: int, begin: Callable[[], object] | None = None
) -> Hits:
    """`search(queries_QD)`, by so many threads where each gets `FEWEST` queries and more.

    The answer to a query must depend on that query alone. Torch has one thread in each of these threads, and `begin` is
    called there first, to see to other libraries. With fewer queries it is the one call. Raises: what `search` raises.

    >>> import numpy as np
    >>> search = lambda part_QD: Hits(np.arange(len(part_QD) + 1), *np.zeros((2, len(part_QD))))
    >>> search_in_parts(search, np.ones((64, 2)), threads=2).offsets[-1]
    np.int64(64)
    """
    queries = len(queries_QD)
    if threads == 1 or queries < FEWEST * threads:
        return search(queries_QD)
    import numpy as np
    import torch

    def of_part(part: int) -> Hits:
        if begin:
            begin()
        with torch.no_grad():  # which is a setting of each thread
            return search(queries_QD[queries * part // threads : queries * (part + 1) // threads])

    parts = list(_executor(threads).map(of_part, range(threads)))
    counts_Q = np.concatenate([np.diff(part.offsets) for part in parts])
    return Hits(
        np.concatenate(([0], np.cumsum(counts_Q))).astype(np.int64),
        np.concatenate([part.label_rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _executor(threads: int) -> ThreadPoolExecutor:
    """So many threads, in each of which torch has one; kept for later searches, but not across a fork."""
    import torch

    key = os.getpid(), threads
    if key in _executors:
        return _executors[key]
    before, executor, ready = torch.get_num_threads(), ThreadPoolExecutor(threads, "xmc-search"), Barrier(threads + 1)
    for _ in range(threads):
        executor.submit(_take_one_thread, ready)
    ready.wait()
    torch.set_num_threads(before)  # the setting of a thread is also that of all threads that are yet to come
    return _executors.setdefault(key, executor)


def _take_one_thread(ready: Barrier) -> None:
    import torch

    torch.get_num_threads()  # a thread takes the setting of all when it first asks, and would do so later
    torch.set_num_threads(1)
    ready.wait()
