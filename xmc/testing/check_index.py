"""What every index of xmc must keep to; a plugin's whole test may be `check_index(MyBackend())`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import Index, IndexBackend
from xmc.errors import ConfigError, DataError, NonFiniteError, XmcError
from xmc.index_building import build_index
from xmc.testing.check_offers import (
    check_certificates,
    check_count,
    check_device,
    check_filter,
    check_ladder,
    check_proposals,
)
from xmc.testing.conformance import expect, keep_to, plain_options
from xmc.testing.index_cases import (
    LABELS,
    MANY,
    QUERIES,
    K,
    label_chunks,
    label_vectors,
    many_vectors,
    oracle,
    query_vectors,
    recall,
)
from xmc.values import Hits

SIMILARITIES = ("dot", "cosine")
THREADS = 8


@dataclass(frozen=True)
class _Case:
    """The backend under test and what its IndexSpec says."""

    backend: IndexBackend
    exact: bool
    least_recall: float
    device: str = "cpu"

    def built(self, vectors_LD: Tensor | None = None, similarity: str = "dot") -> Index:
        return self.built_of(label_chunks() if vectors_LD is None else [vectors_LD], similarity)

    def built_of(self, chunks: Sequence[Tensor], similarity: str = "dot", device: str = "") -> Index:
        """As the engine builds it: the chunks pass once."""
        return build_index(
            self.backend,
            chunks,
            labels=sum(len(chunk) for chunk in chunks),
            similarity=similarity,
            device=device or self.device,
        )

    def expect(self, condition: object, promise: str, **numbers: Any) -> None:
        expect(condition, self.backend, promise, **numbers)


def check_index(backend: IndexBackend, *, exact: bool = False, least_recall: float = 0.9, device: str = "cpu") -> None:
    """Check the contract of an index backend on a device, against a brute-force search in float64.

    `exact` is that of its IndexSpec: an exact backend must return the very labels of the brute-force search, ties
    settled by label row; any other must find the share `least_recall` of them with its default options. Where the
    index has `search_among`, `search_certified` or a ladder, or the backend makes proposals, these are checked too.

    Its options are a frozen dataclass that goes through the TOML of a run.

    Raises: ConformanceError naming the backend, the promise and the numbers.

    >>> from xmc_index_exact.exact import Exact
    >>> check_index(Exact(), exact=True)
    """
    case = _Case(backend, exact, least_recall, device)
    for check in CHECKS:
        keep_to(check, case, subject=backend)


def _options(case: _Case) -> None:
    plain_options(case.backend, section="index", what="a backend is")


def _finds_the_best(case: _Case) -> None:
    for similarity in SIMILARITIES:
        index, queries_QD = case.built(similarity=similarity), query_vectors()
        hits, expected = index.search(queries_QD, K), oracle(label_vectors(), queries_QD, K, similarity=similarity)
        _is_well_formed(case, hits, K)
        _scores_are_true(case, hits, similarity)
        if case.exact:
            case.expect(np.array_equal(hits.label_rows, expected.label_rows), f"{similarity}: the true top {K}")
        found = recall(hits, expected)
        case.expect(found >= case.least_recall, f"{similarity}: recall of {case.least_recall}", recall=found)


def _is_well_formed(case: _Case, hits: Hits, most: int) -> None:
    """Ragged lists of at most `most` distinct labels, no -1, finite float32 scores, in the order of xmc."""
    for label_rows, scores in hits:
        case.expect(0 < len(label_rows) <= most, f"between 1 and {most} hits", hits=len(label_rows))
        case.expect((label_rows >= 0).all() and (label_rows < LABELS).all(), "label rows exist", rows=label_rows)
        case.expect(len(set(label_rows.tolist())) == len(label_rows), "no label twice", rows=label_rows)
        case.expect(np.isfinite(scores).all() and scores.dtype == np.float32, "finite float32 scores", scores=scores)
        order = np.lexsort((label_rows, -scores))
        case.expect(np.array_equal(order, np.arange(len(order))), "score descending, then label row", rows=label_rows)


def _scores_are_true(case: _Case, hits: Hits, similarity: str) -> None:
    everything = oracle(label_vectors(), query_vectors(), LABELS, similarity=similarity)
    for (label_rows, scores), (all_rows, all_scores) in zip(hits, everything, strict=True):
        true = dict(zip(all_rows.tolist(), all_scores.tolist(), strict=True))
        errors = [abs(score - true[row]) for row, score in zip(label_rows.tolist(), scores.tolist(), strict=True)]
        case.expect(max(errors) < (1e-4 if case.exact else 0.1), f"{similarity} scores are true", error=max(errors))


def _short_lists(case: _Case) -> None:
    hits = case.built().search(query_vectors(), LABELS + 7)
    _is_well_formed(case, hits, LABELS)
    if case.exact:
        case.expect(len(hits.label_rows) == LABELS * QUERIES, "k above the number of labels returns them all")
    one = case.built(label_vectors()[:1]).search(query_vectors(), 3)
    case.expect(one.label_rows.tolist() == [0] * QUERIES, "an index of one label answers it", rows=one.label_rows)
    opposite = case.built(-query_vectors()[:1]).search(query_vectors()[:1], 3)
    case.expect((opposite.scores < 0).tolist() == [True], "a negative score is an answer", scores=opposite.scores)
    none = case.built().search(query_vectors()[:0], 3)
    case.expect(len(none) == 0 and len(none.scores) == 0, "no query, no answer")


def _ties_go_to_the_lower_row(case: _Case) -> None:
    if not case.exact:
        return
    vectors_LD = label_vectors()[:1].repeat(LABELS, 1)
    hits = case.built(vectors_LD).search(query_vectors(), K)
    case.expect(hits.label_rows.tolist() == list(range(K)) * QUERIES, "equal labels: lowest rows", rows=hits.label_rows)


def _many_labels(case: _Case) -> None:
    """More labels and a longer list: rows are those of the labels, and as many as were asked for."""
    vectors_LD, k = many_vectors(), 4 * K
    queries_QD = vectors_LD[:: MANY // 20] + 0.1
    hits = case.built_of([vectors_LD[:700], vectors_LD[700:]]).search(queries_QD, k)
    true_QL = (queries_QD.double() @ vectors_LD.double().T).numpy()
    reached = 0.0
    for true_L, (label_rows, scores) in zip(true_QL, hits, strict=True):
        error = np.abs(true_L[label_rows] - scores).max()
        case.expect(
            error < (1e-4 if case.exact else 0.1), f"of {MANY} labels: scores are those of their rows", error=error
        )
        reached += float((true_L[label_rows] >= np.sort(true_L)[-k] - 1e-4).sum())
    found = reached / (k * len(queries_QD))
    least = 1.0 if case.exact else case.least_recall
    case.expect(found >= least, f"of {MANY} labels and k = {k}: recall of {least}", recall=found)


def _report_is_sound(case: _Case) -> None:
    report = case.built().report
    case.expect(report.memory_bytes > 0, "the report's memory_bytes are above 0", memory_bytes=report.memory_bytes)
    case.expect(0 <= report.build_s < 3600, "the report's build_s are the seconds of the build", build_s=report.build_s)
    named = [report.backend, report.device_used]
    case.expect(all(isinstance(one, str) and one for one in named), "the report names backend and device", names=named)
    case.expect(isinstance(report.exact, bool), "the report's exact is True or False", exact=report.exact)
    case.expect(report.exact or not case.exact, "an exact backend reports exact=True", exact=report.exact)
    read_back = json.loads(json.dumps(asdict(report)))
    case.expect(read_back["options"] == json.loads(json.dumps(dict(report.options))), "the report goes through JSON")


def _batch_does_not_matter(case: _Case) -> None:
    index, queries_QD = case.built(), query_vectors()
    for row, (label_rows, scores) in enumerate(index.search(queries_QD, K)):
        alone = index.search(queries_QD[row : row + 1], K)
        same = np.array_equal(alone.label_rows, label_rows) and np.array_equal(alone.scores, scores)
        close = np.allclose(alone.scores, scores, rtol=1e-5, atol=1e-5)
        case.expect(same if case.exact else close, "a query alone gets the answer it gets in a batch", query=row)


def _zero_query(case: _Case) -> None:
    for similarity in SIMILARITIES:
        hits = case.built(similarity=similarity).search(torch.zeros_like(query_vectors()), K)
        case.expect((hits.scores == 0).all(), f"{similarity}: a zero query scores 0", scores=hits.scores)
        if case.exact:
            case.expect(hits.label_rows.tolist() == list(range(K)) * QUERIES, "a zero query ties everywhere")


def _refusals(case: _Case) -> None:
    index, queries_QD = case.built(), query_vectors()
    _refuses(case, ConfigError, "k = 0", lambda: index.search(queries_QD, 0))
    _refuses(case, DataError, "queries of another width", lambda: index.search(queries_QD[:, 1:], K))
    _refuses(case, DataError, "no labels", lambda: case.built_of([]))
    _refuses(case, ConfigError, "an unknown similarity", lambda: case.built(similarity="euclidean"))
    _refuses(case, ConfigError, "an unknown device", lambda: case.built_of([queries_QD], device="x"))
    for bad in (float("nan"), float("inf"), 1e19):
        broken_QD = queries_QD.clone()
        broken_QD[1, 0] = bad
        chunks = [label_vectors(), broken_QD]
        _refuses(case, NonFiniteError, f"{bad} in a query", partial(index.search, broken_QD, K), names="1")
        _refuses(case, NonFiniteError, f"{bad} in a label", partial(case.built_of, chunks), names=str(LABELS + 1))


def _refuses(case: _Case, error: type[XmcError], what: str, action: Callable[[], object], names: str = "") -> None:
    try:
        action()
    except error as raised:
        case.expect(names in str(raised), f"the refusal of {what} names row {names}", message=str(raised))
    else:
        case.expect(False, f"{what} is refused with {error.__name__}")


def _inputs_stay_as_they_are(case: _Case) -> None:
    for similarity in SIMILARITIES:
        vectors_LD, queries_QD = label_vectors(), query_vectors()
        index = case.built(vectors_LD, similarity)
        before = index.search(queries_QD, K)
        unchanged = torch.equal(vectors_LD, label_vectors()) and torch.equal(queries_QD, query_vectors())
        case.expect(unchanged, "vectors are not written into")
        vectors_LD.zero_()
        _are_equal(case, before, index.search(queries_QD, K), "the index keeps its own copy of the labels")


def _save_and_load(case: _Case) -> None:
    for similarity in SIMILARITIES:
        index = case.built(similarity=similarity)
        with tempfile.TemporaryDirectory() as folder:
            written, moved = Path(folder) / "written", Path(folder) / "moved"
            written.mkdir()
            index.save(written)
            written.rename(moved)  # as the engine does when it commits
            loaded = case.backend.load(moved, device=case.device)
            before, after = (one.search(query_vectors(), K) for one in (index, loaded))
        _are_equal(
            case, before, after, f"{similarity}: an index that is loaded from a moved folder answers as the saved one"
        )
        facts = [(one.report.labels, one.report.dimension, one.report.similarity) for one in (index, loaded)]
        case.expect(facts[0] == facts[1], "the report survives", reports=facts)
        case.expect(facts[0] == (LABELS, query_vectors().shape[1], similarity), "the report is true", report=facts[0])


def _threads(case: _Case) -> None:
    index, queries_QD = case.built(), query_vectors()
    expected = index.search(queries_QD, K)
    with ThreadPoolExecutor(THREADS) as pool:
        for hits in pool.map(lambda _: index.search(queries_QD, K), range(4 * THREADS)):
            _are_equal(case, expected, hits, f"{THREADS} threads get the same answers")


def _are_equal(case: _Case, one: Hits, other: Hits, promise: str) -> None:
    pairs = ((one.offsets, other.offsets), (one.label_rows, other.label_rows), (one.scores, other.scores))
    case.expect(all(np.array_equal(left, right) for left, right in pairs), promise)


def _offers(case: _Case) -> None:
    """What the index may offer beyond search."""
    for similarity in SIMILARITIES:
        index = case.built(similarity=similarity)
        check_filter(index, case.expect, exact=case.exact, similarity=similarity)
        check_certificates(index, case.expect, similarity=similarity)
    check_ladder(case.built(), case.expect)
    check_proposals(case.backend, case.expect)
    check_device(case.backend, case.expect, device=case.device)
    check_count(case.backend, case.expect)


CHECKS: tuple[Callable[[_Case], None], ...] = (
    _options,
    _finds_the_best,
    _report_is_sound,
    _many_labels,
    _short_lists,
    _ties_go_to_the_lower_row,
    _batch_does_not_matter,
    _zero_query,
    _refusals,
    _inputs_stay_as_they_are,
    _save_and_load,
    _threads,
    _offers,
)
