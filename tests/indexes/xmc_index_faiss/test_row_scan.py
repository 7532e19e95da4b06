"""Invariants: candidates are scored again exactly, also where a quick pass leaves most out; ties and gaps hold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.api import rounding_bounds
from xmc_index_faiss import rescoring, row_scan, score_error
from xmc_index_faiss.label_vectors import HeldVectors
from xmc_index_faiss.rescoring import FEW, best_rescored
from xmc_index_faiss.row_scan import scan_rows


def one_by_one(queries_QD, labels_LD, rows_QM, k):
    """Every candidate's score in float64, rounded; places without a label last."""
    scores_QM = np.full(rows_QM.shape, -np.inf, np.float32)
    for query, column in zip(*np.nonzero(rows_QM >= 0), strict=True):
        scores_QM[query, column] = queries_QD[query].astype("f8") @ labels_LD[rows_QM[query, column]].astype("f8")
    order = np.lexsort((rows_QM, -scores_QM), axis=1)[:, :k]
    return np.take_along_axis(scores_QM, order, 1), np.take_along_axis(rows_QM, order, 1)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(1, 70),
    candidates=st.integers(1, 60),
    k=st.integers(1, 12),
    whole=st.booleans(),
    scale=st.sampled_from([1.0, 1e-20, 1e15]),
)
def test_equal_to_scoring_each(seed, queries, candidates, k, whole, scale):
    generator = np.random.default_rng(seed)
    draw = generator.integers(-2, 3, (300, 16)) if whole else generator.standard_normal((300, 16))
    labels_LD = (draw * scale).astype(np.float32)  # whole numbers: products are exact, and many tie
    queries_QD = generator.integers(-3, 4, (queries, 16)).astype(np.float32)
    rows_QM = np.array([generator.permutation(300)[:candidates] for _ in range(queries)])
    rows_QM[generator.random(rows_QM.shape) < generator.random()] = -1
    scores, rows = best_rescored(queries_QD, HeldVectors(labels_LD), rows_QM, k)
    expected_scores, expected_rows = one_by_one(queries_QD, labels_LD, rows_QM, k)
    assert np.array_equal(scores == -np.inf, expected_scores == -np.inf)
    there = scores > -np.inf
    np.testing.assert_allclose(scores[there], expected_scores[there], rtol=1e-6, atol=1e-6 * scale)
    if whole:
        assert np.array_equal(rows[there], expected_rows[there])


@pytest.mark.parametrize("numbers", [1, 500, 1 << 16])
def test_slices_do_not_matter(monkeypatch, numbers):
    generator = np.random.default_rng(0)
    labels = HeldVectors(generator.standard_normal((500, 24)).astype(np.float32))
    queries_QD = generator.standard_normal((40, 24)).astype(np.float32)
    rows_QM = np.array([generator.permutation(500)[:50] for _ in range(40)])
    assert rows_QM.shape[1] > 10 + FEW
    expected = one_by_one(queries_QD, labels.matrix_LD, rows_QM, 10)
    monkeypatch.setattr(rescoring, "NUMBERS", numbers)
    found = best_rescored(queries_QD, labels, rows_QM, 10)
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


class Off(HeldVectors):
    """Quick scores as far off as they may be: what is best too low, all else too high."""

    def scores(self, queries_QD, rows_QM):
        true_QM = np.take_along_axis(queries_QD.astype("f8") @ self.matrix_LD.astype("f8").T, rows_QM, 1)
        is_best_QM = true_QM >= -np.partition(-true_QM, 2, axis=1)[:, 2:3]
        return true_QM + np.where(is_best_QM, -1, 1) * self.score_error.of(score_error.norms(queries_QD))[:, None]


def test_a_quick_pass_that_is_off_by_all_that_it_may_be_loses_no_hit():
    labels_LD = (1 + np.random.default_rng(0).permutation(64)[:, None] * 2.0**-23).astype(np.float32)
    queries_QD, rows_QM = np.ones((2, 1), np.float32), np.arange(64)[None].repeat(2, 0)
    _, rows = best_rescored(queries_QD, Off(labels_LD), rows_QM, 3)
    assert rows.tolist() == [np.argsort(-labels_LD[:, 0])[:3].tolist()] * 2


def test_the_error_of_a_score_is_a_line_in_the_norm_of_its_query():
    queries_QD = (np.random.default_rng(0).standard_normal((7, 5)) * 10.0 ** np.arange(-3, 4)[:, None]).astype("f4")
    norms_Q = np.linalg.norm(queries_QD.astype("f8"), axis=1)
    expected = [rounding_bounds(norm, 3.0, dimension=5) for norm in norms_Q.tolist()]
    error = score_error.ScoreError.rounding(5, 3.0)
    alone = [error.of(score_error.norms(query_D[None])).item() for query_D in queries_QD]
    np.testing.assert_allclose((error.of(score_error.norms(queries_QD)), alone), (expected, expected), rtol=1e-6)


def test_zero_queries_keep_the_first_rows_and_no_others(monkeypatch):
    """Scored as others each would keep all rows, which tie: memory for so many pairs."""
    generator = np.random.default_rng(0)
    labels_LD, queries_QD = (generator.standard_normal((count, 8)).astype(np.float32) for count in (400, 9))
    queries_QD[[0, 3, 8]] = 0.0
    queries_QD[3, 1] = -0.0
    rows, pairs, rescore = np.arange(1, 400, 2), [], row_scan.rescore
    monkeypatch.setattr(row_scan, "QUERIES", 4)
    monkeypatch.setattr(row_scan, "rescore", lambda *given: pairs.append(len(given[2])) or rescore(*given))
    for k in (1, 7, 500):
        hits = scan_rows(queries_QD, HeldVectors(labels_LD), rows, k)
        scores_QN = (queries_QD.astype("f8") @ labels_LD[rows].astype("f8").T).astype("f4")
        for (found, scores), true_N in zip(hits, scores_QN, strict=True):
            assert found.tolist() == rows[np.lexsort((rows, -true_N))][:k].tolist()
            np.testing.assert_allclose(scores, np.sort(true_N)[::-1][:k], rtol=1e-6)
    assert max(pairs[:2]) < 20
    assert scan_rows(queries_QD[:1], HeldVectors(labels_LD), rows, 3).label_rows.tolist() == [1, 3, 5]


@pytest.mark.parametrize("spread", [0.0, 1e-7], ids=["equal", "nearly equal"])
def test_labels_of_a_collapsed_encoder_are_not_scored_pair_by_pair(spread, monkeypatch):
    """Nor are their pairs held: for every group of queries as many as there are labels."""
    generator = np.random.default_rng(1)
    labels_LD = (generator.standard_normal(16) + spread * generator.standard_normal((900, 16))).astype(np.float32)
    queries_QD = generator.standard_normal((120, 16)).astype(np.float32)
    rows, pairs, rescore = np.arange(0, 900, 2), [], row_scan.rescore
    monkeypatch.setattr(row_scan, "QUERIES", 50)
    monkeypatch.setattr(row_scan, "rescore", lambda *given: pairs.append(len(given[2])) or rescore(*given))
    hits = scan_rows(queries_QD, HeldVectors(labels_LD), rows, 5)
    scores_QN = (queries_QD.astype("f8") @ labels_LD[rows].astype("f8").T).astype("f4")
    for (found, scores), true_N in zip(hits, scores_QN, strict=True):
        assert found.tolist() == rows[np.lexsort((rows, -true_N))][:5].tolist()
        np.testing.assert_allclose(scores, np.sort(true_N)[::-1][:5], rtol=1e-6)
    assert sum(pairs) < 120 * 450 / 10


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_a_scan_counts_with_shortened_products_and_a_proof_does_not(setting, monkeypatch):
    """Products of a scan are torch's; those of candidates and cells are numpy's and faiss's, whatever torch is told."""
    seen = []
    bounds = row_scan.rounding_bounds
    for module in (row_scan, score_error):
        monkeypatch.setattr(
            module,
            "rounding_bounds",
            lambda *given, **more: seen.append(more.get("further", 0.0)) or bounds(*given, **more),
        )
    labels, queries_QD = HeldVectors(np.eye(600, 4, dtype=np.float32)), np.ones((2, 4), np.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        scan_rows(queries_QD, labels, np.arange(600), 3)
        best_rescored(queries_QD, labels, np.arange(600)[None].repeat(2, 0), 3)
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [2.02 * 2**-8, 0.0, 0.0]
