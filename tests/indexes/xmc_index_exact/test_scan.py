import pytest
import torch

from xmc.ranking import rank_hits
from xmc_index_exact import scan
from xmc_index_exact.scan import Candidates, best_first, block_size, find_candidates, tightened


@pytest.mark.parametrize(("labels", "k"), [(1, 1), (5, 5), (127, 3), (1000, 10), (40_000, 10), (600, 599)])
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
