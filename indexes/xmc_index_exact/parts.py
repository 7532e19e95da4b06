"""A large batch in parts, each searched by a thread of its own.

A search is products of matrices and many small steps between them. Torch's threads share each of these, and wait for
one another after it; threads that each search a part share nothing but the labels.

Shapes: Q queries, D dimension.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import torch
from torch import Tensor

from xmc.api import Hits

FEWEST = 128  # queries of a part: with as many, parts were quicker on two threads by codes, and even in float32

_workers: tuple[int, int, ThreadPoolExecutor] | None = None  # of which process, how many, and they


def search_in_parts(search: Callable[[Tensor], Hits], queries_QD: Tensor) -> Hits:
    """`search(queries_QD)`, by as many threads as torch has where each gets `FEWEST` queries and more.

    The answer to a query must depend on that query alone. On a GPU, and with fewer queries, it is the one call.
    Raises: what `search` raises.

    >>> rows_of = lambda part_QD: Hits(np.arange(len(part_QD) + 1), *np.zeros((2, len(part_QD))))
    >>> search_in_parts(rows_of, torch.ones(3, 2)).offsets
    array([0, 1, 2, 3])
    """
    threads = torch.get_num_threads()
    if threads == 1 or not queries_QD.is_cpu or len(queries_QD) < FEWEST * threads:
        return search(queries_QD)

    def without_gradients(part_QD: Tensor) -> Hits:  # which is a setting of each thread
        with torch.no_grad():
            return search(part_QD)

    parts = list(_executor(threads).map(without_gradients, queries_QD.tensor_split(threads)))
    counts_Q = np.concatenate([np.diff(part.offsets) for part in parts])
    return Hits(
        np.concatenate(([0], np.cumsum(counts_Q))).astype(np.int64),
        np.concatenate([part.label_rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _executor(threads: int) -> ThreadPoolExecutor:
    """So many threads, in each of which torch has one; kept for later searches, but not across a fork."""
    global _workers
    kept = _workers
    if kept and kept[:2] == (os.getpid(), threads):
        return kept[2]
    executor, ready = ThreadPoolExecutor(threads, thread_name_prefix="xmc-exact"), Barrier(threads + 1)
    for _ in range(threads):
        executor.submit(_take_one_thread, ready)
    ready.wait()
    torch.set_num_threads(threads)  # the setting of a thread is also that of all threads that are yet to come
    _workers = os.getpid(), threads, executor
    return executor


def _take_one_thread(ready: Barrier) -> None:
    torch.get_num_threads()  # a thread takes the setting of all when it first asks, and would do so later
    torch.set_num_threads(1)
    ready.wait()
