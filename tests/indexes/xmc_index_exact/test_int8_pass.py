"""Invariants: the true best are always among the candidates; those are few; too many are said to be too many."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.errors import ConfigError
from xmc_index_exact import exact, int8_pass
from xmc_index_exact.exact import Exact
from xmc_index_exact.int8_pass import PART, Int8Pass
from xmc_index_exact.int8_product import Fbgemm, OneDnn, kernel, multiplies_exactly

KERNELS = [one for one in (Fbgemm, OneDnn) if multiplies_exactly(one)]
pytestmark = pytest.mark.skipif(kernel(384) is None, reason="this torch has no int8 products for this processor")


def true_best(queries_QD, labels_LD, k, allowed=None):
    """Pairs of all labels that reach the kth best score, float64 rounded to float32, ties included."""
    scores_QL = (queries_QD.double() @ labels_LD.double().T).float()
    if allowed is not None:
        hidden = torch.ones(len(labels_LD), dtype=torch.bool)
        hidden[allowed] = False
        scores_QL[:, hidden] = -torch.inf
    kth_Q1 = scores_QL.topk(k, dim=1).values[:, -1:]
    return {tuple(pair) for pair in ((scores_QL >= kth_Q1) & (scores_QL > -torch.inf)).nonzero().tolist()}


def found_pairs(first, queries_QD, k, allowed=None, score_bytes=4 << 20):
    found = first.candidates(queries_QD, k, score_bytes=score_bytes, allowed=allowed)
    return None if found is None else set(zip(found.query_rows_P.tolist(), found.label_rows_P.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    labels=st.integers(1, 2 * PART + 200),
    dimension=st.integers(1, 40),
    queries=st.integers(1, 70),
    k=st.integers(1, 40),
    kind=st.sampled_from(["whole", "normal", "sizes", "tiny", "outliers"]),
    some=st.booleans(),
    which=st.integers(0, 1),
)
def test_the_best_are_among_the_candidates(seed, labels, dimension, queries, k, kind, some, which):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(labels + queries, dimension, generator=generator)
    if kind == "whole":
        vectors = torch.randint(-2, 3, vectors.shape, generator=generator).float()
    elif kind == "sizes":
        vectors *= 10.0 ** torch.randint(-14, 15, (len(vectors), 1), generator=generator)
    elif kind == "tiny":
        vectors *= 1e-22  # scores of which float32 has few digits: many tie that codes tell apart
    elif kind == "outliers":
        vectors[torch.rand(vectors.shape, generator=generator) < 0.01] *= 1000
    labels_LD, queries_QD = vectors[:labels], vectors[labels:]
    queries_QD[~queries_QD.any(1)] = 1.0
    rows = torch.arange(labels)[torch.rand(labels, generator=generator) < 0.5] if some else None
    if rows is not None and len(rows) == 0:
        rows = torch.tensor([0])
    k = min(k, labels if rows is None else len(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_pass, "_BUDGET", (1, 1.0))  # any number of candidates is taken
        first = Int8Pass.of(labels_LD, KERNELS[which % len(KERNELS)])
        found = first.candidates(queries_QD, k, score_bytes=4 << 20, allowed=rows)
    pairs = torch.stack((found.query_rows_P, found.label_rows_P), dim=1)
    assert true_best(queries_QD, labels_LD, k, rows) <= set(map(tuple, pairs.tolist()))
    true_P = (queries_QD[pairs[:, 0]].double() * labels_LD[pairs[:, 1]].double()).sum(1)
    assert (true_P <= found.scores_P).all(), "the most that a score can be"


@pytest.mark.parametrize("one", KERNELS)
@pytest.mark.parametrize("queries", [1, 3, 70])
def test_candidates_are_few(one, queries):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(20_000 + queries, 384, generator=generator), dim=1)
    labels_LD, queries_QD = vectors[:20_000], vectors[20_000:]
    first = Int8Pass.of(labels_LD, one)
    pairs = found_pairs(first, queries_QD, 10)
    assert true_best(queries_QD, labels_LD, 10) <= pairs
    assert len(pairs) / queries < 400
    assert pairs == found_pairs(first, queries_QD, 10, score_bytes=1)  # one query, one part at a time


@pytest.mark.parametrize("rows", [torch.arange(300), torch.tensor([0, 9000, 19_999, *range(500, 517)])])
def test_labels_that_do_not_count_are_no_candidates(rows):
    """Also where less than k blocks hold one that does, so that nothing is known of the kth best."""
    generator = torch.Generator().manual_seed(3)
    labels_LD, queries_QD = torch.randn(20_000, 8, generator=generator), torch.randn(3, 8, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_pass, "_BUDGET", (1, 1.0))
        pairs = found_pairs(Int8Pass.of(labels_LD, KERNELS[-1]), queries_QD, 20, rows)
    assert {label for _, label in pairs} <= set(rows.tolist())
    assert true_best(queries_QD, labels_LD, 20, rows) <= pairs


def test_no_candidates_are_left_out_that_the_rounding_may_have_moved():
    """Labels that differ by less than the codes can tell: all are candidates."""
    labels_LD = torch.ones(100, 8)
    labels_LD[:, 0] += torch.arange(100) * 1e-6
    labels_LD = torch.cat([labels_LD, torch.zeros(5000, 8)])
    pairs = found_pairs(Int8Pass.of(labels_LD, kernel(labels_LD.shape[1])), torch.ones(1, 8), 1)
    assert {label for _, label in pairs} >= set(range(100))


def test_too_many_candidates_are_left_to_float32():
    generator = torch.Generator().manual_seed(1)
    labels_LD = torch.randn(16, generator=generator) + 1e-3 * torch.randn(30_000, 16, generator=generator)
    index = Exact(first_pass="int8").build([labels_LD], similarity="dot", device="cpu")
    queries_QD = torch.randn(3, 16, generator=generator)
    assert found_pairs(index.narrow, queries_QD, 5) is None
    expected = Exact(first_pass="float32").build([labels_LD], similarity="dot", device="cpu").search(queries_QD, 5)
    hits = index.search(queries_QD, 5)
    assert hits.label_rows.tolist() == expected.label_rows.tolist()
    assert hits.scores.tobytes() == expected.scores.tobytes()


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("rows", [None, np.arange(0, 40_000, 2), np.arange(100)])
def test_the_bits_are_those_of_float32(similarity, rows):
    generator = torch.Generator().manual_seed(2)
    labels_LD = torch.randn(40_000, 24, generator=generator)
    labels_LD[30_000:] = labels_LD[:10_000]  # ties
    labels_LD[5] = 0
    queries_QD = torch.randn(20, 24, generator=generator)
    queries_QD[3] = 0
    answers = []
    for first_pass in ("int8", "float32"):
        index = Exact(first_pass=first_pass).build([labels_LD], similarity=similarity, device="cpu")
        answers.append(index.search(queries_QD, 20) if rows is None else index.search_among(queries_QD, 20, rows))
    assert answers[0].label_rows.tolist() == answers[1].label_rows.tolist()
    assert answers[0].scores.tobytes() == answers[1].scores.tobytes()


def test_auto_takes_codes_for_many_labels(monkeypatch):
    monkeypatch.setattr(exact, "has_fast_bfloat16", lambda: False)
    cpu = torch.device("cpu")
    assert Exact()._chosen(cpu, exact.FEWEST_CODED, 384) == "int8"
    assert Exact()._chosen(cpu, exact.FEWEST_CODED - 1, 384) == "float32"
    assert Exact()._chosen(cpu, exact.FEWEST_CODED, 256) == "int8"
    assert Exact()._chosen(cpu, exact.FEWEST_CODED, 255) == "float32"
    assert Exact().estimated_bytes(labels=100_000, dimension=384) in (
        100_000 * (384 * 4 + 520),
        100_000 * (384 * 5 + 12),
    )
    index = Exact(first_pass="int8").build([torch.eye(20).repeat(2000, 1)], similarity="dot", device="cpu")
    assert index.report.memory_bytes / 40_000 == pytest.approx(20 * 5 + 12, abs=0.5)
    monkeypatch.setattr(exact, "kernel", lambda dimension: None)
    assert Exact()._chosen(cpu, exact.FEWEST_CODED, 384) == "float32"
    with pytest.raises(ConfigError, match="int8 products for an x86 processor"):
        Exact(first_pass="int8").build([torch.eye(3)], similarity="dot", device="cpu")


def test_a_goal_of_memory_may_do_without_codes(monkeypatch):
    monkeypatch.setattr(exact, "has_fast_bfloat16", lambda: False)
    for labels, passes in ((exact.FEWEST_CODED, ["auto", "float32"]), (1000, ["auto"])):
        assert [one.first_pass for one in Exact.proposals(labels=labels, dimension=384)] == passes


def test_codes_are_used_where_they_pay_off(monkeypatch):
    first = Int8Pass.of(torch.randn(1000, 8, generator=torch.Generator().manual_seed(0)), KERNELS[0])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert first.pays_off(16, 1, 1000)
    assert first.pays_off(16, 1, 512)  # of 1000 labels that count
    assert not first.pays_off(16, 1, 511)
    assert not first.pays_off(16, 2, 1000)
    assert not first.pays_off(17, 1, 1000)
    many = replace(first, labels=20_480)
    assert many.pays_off(500, 20, 20_480)
    assert not many.pays_off(500, 21, 20_480)
    assert many.pays_off(500, 1, 6_827)
    assert not many.pays_off(500, 1, 6_826)  # less than a third of them
    assert many.pays_off(8, 1, 1_280)
    assert not many.pays_off(8, 1, 1_279)  # less than a sixteenth
    assert not Int8Pass.of(torch.ones(9, 2), OneDnn).pays_off(1, 1, 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert many.pays_off(16, 10, 20_480)
    assert not many.pays_off(17, 10, 20_480)


def test_many_threads_get_the_answers_of_one():
    generator = torch.Generator().manual_seed(5)
    labels_LD, queries_QD = torch.randn(20_000, 24, generator=generator), torch.randn(12, 24, generator=generator)
    index = Exact(first_pass="int8").build([labels_LD], similarity="cosine", device="cpu")
    expected = index.search(queries_QD, 10)
    with ThreadPoolExecutor(8) as pool:
        for hits in pool.map(lambda _: index.search(queries_QD, 10), range(32)):
            assert hits.label_rows.tolist() == expected.label_rows.tolist()
            assert hits.scores.tobytes() == expected.scores.tobytes()
