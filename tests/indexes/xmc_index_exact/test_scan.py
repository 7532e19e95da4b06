import pytest
import torch

from xmc_index_exact.scan import Candidates, block_size, find_candidates, tightened


@pytest.mark.parametrize(("labels", "k"), [(1, 1), (5, 5), (127, 3), (1000, 10), (40_000, 10), (600, 599)])
@pytest.mark.parametrize("queries", [1, 2, 300])
def test_candidates_are_all_labels_within_the_margin(labels, k, queries):
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
