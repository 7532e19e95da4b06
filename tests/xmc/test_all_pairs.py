"""Invariants: the best of all pairs are those of sums in the fixed order, bits and ties, whatever the slices; a sum
whose rounding depends on the order is added up again."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc import all_pairs
from xmc.all_pairs import best_of_all, most_candidates
from xmc.fixed_order import dot_pairs


def naive(queries_QD, labels_LD, rows_L, k):
    answers = []
    for query_D in queries_QD:
        scores_L = dot_pairs(query_D.expand(len(rows_L), -1), labels_LD[rows_L]).float().numpy() + np.float32(0)
        order = np.sort(np.lexsort((np.arange(len(rows_L)), -scores_L))[:k])
        answers.append((rows_L[order].tolist(), scores_L[order].tobytes()))
    return answers


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    labels=st.integers(1, 60),
    dimension=st.integers(1, 40),
    queries=st.integers(1, 9),
    kind=st.sampled_from(["whole numbers", "nearly equal", "of any size", "cancelling"]),
    share=st.sampled_from([1.0, 0.5]),
    scores=st.sampled_from([1, 40, 1 << 20]),
)
def test_equal_to_sums_in_the_fixed_order(seed, labels, dimension, queries, kind, share, scores):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(labels + queries, dimension, generator=generator)
    if kind == "whole numbers":
        vectors = vectors.round()
    elif kind == "nearly equal":
        vectors[:labels] = vectors[0] + 1e-7 * vectors[:labels]
    elif kind == "of any size":
        vectors *= 10.0 ** torch.randint(-30, 15, (labels + queries, 1), generator=generator)
    elif kind == "cancelling":
        vectors[:, dimension // 2 : 2 * (dimension // 2)] = vectors[:, : dimension // 2]
        vectors[:labels, : dimension // 2] *= -1
    labels_LD, queries_QD = vectors[:labels], vectors[labels:]
    queries_QD[0] *= seed % 3 > 0  # a zero query ties everywhere
    rows_L = torch.arange(labels)[torch.rand(labels, generator=generator) < share]
    k = min(len(rows_L), seed % 7 + 1)
    if not k:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(all_pairs._SCORES, "cpu", scores)
        patch.setattr(all_pairs, "_QUERIES", 4)
        query_rows, label_rows, found = best_of_all(queries_QD, labels_LD.__getitem__, rows_L, k)
    assert query_rows.tolist() == np.repeat(np.arange(queries), k).tolist()
    pairs = zip(label_rows.view(-1, k), found.view(-1, k), strict=True)
    assert [(rows.tolist(), scores_K.numpy().tobytes()) for rows, scores_K in pairs] == naive(
        queries_QD, labels_LD, rows_L, k
    )


@pytest.mark.parametrize("scales", [(1, 1), (2.0**30, 1), (1, 2.0**30)], ids=["alike", "long query", "long labels"])
def test_what_the_order_decides_is_added_up_again(scales, monkeypatch):
    """Half-way between two float32 numbers, where a term of 2^-60 decides: the fixed order loses or keeps it."""
    halfway_D = torch.tensor([1.0, 2.0**-24, 2.0**-60, -(2.0**-60)] + [0.0] * 60)
    labels_LD = torch.stack([halfway_D.roll(shift) for shift in range(64)] + [torch.full((64,), 1 / 64)] * 936)
    again = []
    monkeypatch.setattr(all_pairs, "dot_pairs", lambda *pair: again.append(len(pair[0])) or dot_pairs(*pair))
    query_QD, labels_LD = torch.ones(1, 64) * scales[0], labels_LD * scales[1]
    _, rows, scores = best_of_all(query_QD, labels_LD.__getitem__, torch.arange(1000), 50)
    assert (rows.tolist(), scores.numpy().tobytes()) == naive(query_QD, labels_LD, torch.arange(1000), 50)[0]
    assert 64 <= sum(again) < 1000


def test_candidates_are_few_beside_all_pairs_of_many_queries():
    for queries, labels in ((64, 100), (256, 50_000), (4096, 1_000_000)):
        assert 2 * labels <= most_candidates(queries=queries, labels=labels, device="cpu") <= queries * labels / 15
    assert most_candidates(queries=2, labels=1000, device="cpu") >= 2000  # fewer are never worth it


def test_few_queries_hold_no_more_label_vectors_at_a_time_than_many():
    labels_LD, held = torch.ones(3000, 500), []
    for queries in (1, 256):
        best_of_all(
            torch.ones(queries, 500), lambda rows: held.append(len(rows)) or labels_LD[rows], torch.arange(3000), 2
        )
    assert sum(held) == 2 * 3000 and max(held) * 500 <= 1 << 20
