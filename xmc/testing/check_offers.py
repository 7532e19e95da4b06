"""What an index may offer beyond search, checked where it is there: filters, certificates, a ladder, proposals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import (
    CertifyingIndex,
    ConfigError,
    CountedBackend,
    DataError,
    FilteredIndex,
    Index,
    PlacedBackend,
    ProposingBackend,
    TunableIndex,
)
from xmc.testing.index_cases import LABELS, QUERIES, K, label_vectors, oracle, query_vectors, recall
from xmc.values import Hits

if TYPE_CHECKING:
    from torch import Tensor

Expect = Callable[..., None]  # (condition, promise, **numbers)
LEAST_KEPT = 0.9  # of the best allowed labels a filtered search must find, as a search must of all


def check_filter(index: Index, expect: Expect, *, exact: bool, similarity: str = "dot") -> None:
    """`search_among`: the best of the allowed rows only, min(k, allowed) of them, scored as `search` does."""
    if not isinstance(index, FilteredIndex):
        return
    queries_QD = query_vectors()
    for rows in (np.arange(0, LABELS, 2), np.arange(5, LABELS, 60), np.array([7]), np.arange(LABELS), np.zeros(0, int)):
        hits = index.search_among(queries_QD, K, rows)
        counts = np.diff(hits.offsets).tolist()
        expect(counts == [min(K, len(rows))] * QUERIES, "a filter leaves min(k, allowed) answers", counts=counts)
        expect(set(hits.label_rows.tolist()) <= set(rows.tolist()), "a filter lets the allowed labels through only")
        if len(rows):
            _are_the_best(hits, queries_QD, rows, expect, exact=exact, similarity=similarity)
    for bad in ([3, 2], [3, 3], [-1], [LABELS]):
        _is_refused(partial(index.search_among, queries_QD, K, np.array(bad)), DataError, f"rows {bad}", expect)
    _is_refused(lambda: index.search_among(queries_QD, 0, np.array([1])), ConfigError, "k = 0 among rows", expect)


def _are_the_best(
    hits: Hits, queries_QD: Tensor, rows: np.ndarray[Any, Any], expect: Expect, *, exact: bool, similarity: str
) -> None:
    best = oracle(label_vectors()[rows], queries_QD, K, similarity=similarity)
    expected = Hits(best.offsets, rows[best.label_rows], best.scores)
    for label_rows, scores in hits:
        order = np.lexsort((label_rows, -scores))
        expect(np.array_equal(order, np.arange(len(order))), "filtered: score descending, then label row")
    if exact:
        expect(np.array_equal(hits.label_rows, expected.label_rows), "filtered: the true top k of the allowed")
    found = recall(hits, expected) if len(rows) > K else 1.0  # all of them are there: that was counted
    expect(found >= LEAST_KEPT, f"filtered: recall of {LEAST_KEPT}", recall=found, allowed=len(rows))
    everything = oracle(label_vectors(), queries_QD, LABELS, similarity=similarity)
    for (label_rows, scores), (all_rows, all_scores) in zip(hits, everything, strict=True):
        true = all_scores[np.argsort(all_rows)][label_rows]
        expect(np.abs(true - scores).max() < (1e-4 if exact else 0.1), "filtered: scores are true", scores=scores)


def check_certificates(index: Index, expect: Expect, *, similarity: str = "dot") -> None:
    """`search_certified`: the hits of `search`, and no proof of an answer that is not the true top k."""
    if not isinstance(index, CertifyingIndex):
        return
    queries_QD = query_vectors()
    for k in (1, K, LABELS + 7):
        hits, proven_Q = index.search_certified(queries_QD, k)
        expect(isinstance(proven_Q, np.ndarray) and proven_Q.dtype == bool, "certificates are an array of bool")
        expect(proven_Q.shape == (QUERIES,), "one certificate for each query", shape=proven_Q.shape)
        plain = index.search(queries_QD, k)
        same = np.array_equal(hits.label_rows, plain.label_rows) and np.array_equal(hits.offsets, plain.offsets)
        expect(same, "certified hits are those of search", k=k)
        true = oracle(label_vectors(), queries_QD, k, similarity=similarity)
        for row, ((found, _), (wanted, _)) in enumerate(zip(hits, true, strict=True)):
            right = np.array_equal(found, wanted) or not proven_Q[row]
            expect(right, "a proven answer is the true top k", query=row, k=k, found=found, true=wanted)


def check_ladder(index: Index, expect: Expect) -> None:
    """`search_ladder` of an index with similarity `dot` ends with its best step; steps leave the index as it was."""
    if not isinstance(index, TunableIndex):
        return
    queries_QD = query_vectors()
    before = index.search(queries_QD, K)
    ladder = list(index.search_ladder())
    expect(len(ladder) > 0, "a ladder has a step")
    expected = oracle(label_vectors(), queries_QD, K, similarity="dot")
    found = [recall(index.with_search_options(step).search(queries_QD, K), expected) for step in ladder]
    expect(found[-1] >= max(found) - 0.05, "the last step of a ladder is the best", recalls=found)
    for step in ladder:
        options = index.with_search_options(step).report.options
        expect(_holds(options, step), "the report names the options of the search", options=options, step=step)
    after = index.search(queries_QD, K)
    expect(np.array_equal(before.label_rows, after.label_rows), "with_search_options leaves the index as it was")
    name = "no_such_option"
    _is_refused(lambda: index.with_search_options({name: 1}), ConfigError, "an unknown search option", expect)


def _holds(options: Any, step: Any) -> bool:
    """Whether the report's options hold the step, on top or in a table of their own."""
    tables = [options, *(value for value in options.values() if isinstance(value, dict))]
    return any(all(table.get(name) == value for name, value in step.items()) for table in tables)


def check_proposals(backend: Any, expect: Expect) -> None:
    """`proposals` are backends of the same kind; `estimated_bytes` grows with the labels and is that of the report."""
    if not isinstance(backend, ProposingBackend):
        return
    for labels in (1, 1000, 10**6):
        proposals: Sequence[Any] = type(backend).proposals(labels=labels, dimension=24)
        expect(all(isinstance(one, type(backend)) for one in proposals), "proposals are of this backend", labels=labels)
        sizes = [one.estimated_bytes(labels=labels, dimension=24) for one in proposals]
        expect(all(size > 0 for size in sizes), "a proposal takes memory", sizes=sizes)
    proposing: ProposingBackend = backend
    sizes = [proposing.estimated_bytes(labels=labels, dimension=24) for labels in (1000, 10**6)]
    expect(0 < sizes[0] < sizes[1], "more labels take more memory", sizes=sizes)


def check_device(backend: Any, expect: Expect, *, device: str) -> None:
    """`require_device` takes the device that the index is built on, and refuses what is none."""
    if not isinstance(backend, PlacedBackend):
        return
    backend.require_device(device)
    _is_refused(partial(backend.require_device, "nowhere"), ConfigError, "a device that is none", expect)


def check_count(backend: Any, expect: Expect) -> None:
    """`require_labels` takes the number of labels that the index is built of."""
    if isinstance(backend, CountedBackend):
        backend.require_labels(LABELS)


def _is_refused(action: Callable[[], object], error: type[Exception], what: str, expect: Expect) -> None:
    try:
        action()
    except error:
        return
    expect(False, f"{what} is refused with {error.__name__}")
