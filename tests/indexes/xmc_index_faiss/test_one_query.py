"""Invariants: one query at a time has the answers of faiss, to the bit, from any number of threads and for any k."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np

from xmc_index_faiss import one_query
from xmc_index_faiss.one_query import OneQuery


def test_threads_get_the_answers_of_faiss(monkeypatch):
    monkeypatch.setattr(one_query, "_LARGEST_KEPT", 20)
    generator = np.random.default_rng(0)
    index = faiss.IndexFlatIP(16)
    index.add(generator.standard_normal((300, 16)).astype(np.float32))
    queries_QD = generator.standard_normal((400, 16)).astype(np.float32)
    asked = [(row, (310, 1, 7, 20)[row % 4]) for row in range(400)]  # the last one asks for what is kept
    one = OneQuery(index)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda ask: one.search(queries_QD[ask[0]][None], ask[1], None), asked))
    for (row, k), (scores, rows) in zip(asked, answers, strict=True):
        expected = index.search(queries_QD[row][None], k)
        assert np.array_equal(scores, expected[0]) and np.array_equal(rows, expected[1])
    assert one._free and all(buffers.rows_1K.shape[1] <= 20 for buffers in one._free)
