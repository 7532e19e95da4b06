import pytest
import torch

from xmc.ranking import rank_hits
from xmc_index_exact import scan
from xmc_index_exact.scan import Candidates, best_first, block_size, find_candidates, tightened

SIZES = [(1, 1), (5, 5), (127, 3), (1000, 10), (40_000, 10), (600, 599), (5000, 40), (20_000, 129), (300, 128)]


@pytest.mark.parametrize(("labels", "k"), SIZES)
@pytest.mark.parametrize("queries", [1, 2, 300])
def test_candidates_are_all_labels_within_the_margin(labels, k, queries, monkeypatch):
    monkeypatch.setattr(scan, "most_candidates", lambda **sizes: 10**9)
    generator = torch.Generator().manual_seed(labels + queries)
    labels_LD = torch.randint(-3, 4, (labels, 6), generator=generator).float()  # whole numbers: products are exact
    queries_QD = torch.randint(-3, 4, (queries, 6), generator=generator).float()
    margins_Q = torch.randint(0, 5, (queries,), generator=generator).float()
    found = find_candidates(queries_QD, labels_LD, k, margins_Q=margins_Q, score_bytes=1 << 16)
    scores_QL = queries_QD @ labels_LD.T
    kth_Q = scores_QL.topk(k, dim=1).values[:, -1]
    expected = {tuple(pair) for pair in (scores_QL >= (kth_Q - margins_Q)[:, None]).nonzero().tolist()}
    pairs = list(zip(found.query_rows_P.tolist(), found.label_rows_P.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected
    assert torch.equal(found.scores_P, scores_QL[found.query_rows_P, found.label_rows_P])


@pytest.mark.parametrize(("labels", "k"), [(1, 1), (7, 3), (10**6, 10), (10**6, 10**6), (100, 1)])
def test_there_are_at_least_k_blocks(labels, k):
    assert -(-labels // block_size(labels, k)) >= k


@pytest.mark.parametrize("k", [1, 40, 128, 1000])
@pytest.mark.parametrize("count", [1, 127, 128, 4096])
def test_a_span_has_k_blocks_until_k_labels_are_seen(count, k):
    for seen in range(0, k, 128):
        assert count // scan._block_of_span(count, k, seen=seen) >= min(k, count)
    assert scan._block_of_span(count, k, seen=10**9) == scan.MAX_BLOCK


@pytest.mark.parametrize("ascend", [False, True])
def test_long_lists_bring_few_candidates_beside_the_hits(ascend, monkeypatch):
    """Also where every label is better than those before it."""
    generator = torch.Generator().manual_seed(0)
    labels_LD, queries_QD = torch.randn(40_960, 8, generator=generator), torch.rand(256, 8, generator=generator)
    if ascend:
        labels_LD = labels_LD.abs() + torch.arange(40_960)[:, None] / 4096
    found = []
    of_span = scan._of_span
    monkeypatch.setattr(scan, "_of_span", lambda *span: found.append(of_span(*span)) or found[-1])
    find_candidates(queries_QD, labels_LD, 100, margins_Q=torch.zeros(256), score_bytes=4 << 20)
    assert len(found) == 10
    most = 10 if ascend else 1 + sum(1 / span for span in range(1, 10))
    assert sum(len(one.scores_P) for one in found) <= 1.5 * 256 * 100 * most


def test_tightened_keeps_the_kth_and_what_is_within_its_margin():
    scores = torch.tensor([1.0, 5.0, 4.0, 3.5, 2.0, 9.0])
    found = Candidates(torch.tensor([0, 0, 0, 0, 1, 1]), torch.arange(6), scores)
    kept = tightened(found, 2, margins_Q=torch.tensor([0.5, 0.0]))
    assert sorted(kept.label_rows_P.tolist()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("k", [1, 3, 7])
def test_best_first_is_the_order_of_hits(k):
    generator = torch.Generator().manual_seed(k)
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(7))[torch.randperm(35, generator=generator)]
    scores_P = torch.randint(-2, 3, (35,), generator=generator).double() * -0.5  # many ties, and -0.0 beside 0.0
    found = best_first(Candidates(pairs[:, 0], pairs[:, 1], scores_P), k, queries=5)
    hits = rank_hits(pairs[:, 0].numpy(), pairs[:, 1].numpy(), scores_P.numpy(), queries=5, k=k)
    assert found.label_rows_P.tolist() == hits.label_rows.tolist()
    assert found.scores_P.numpy().tobytes() == hits.scores.tobytes()
    assert found.query_rows_P.tolist() == [row for row in range(5) for _ in range(k)]
