"""Invariants: which labels count as equal to the k-th best does not depend on the length of the vectors; rounding does
not count; norms of sparse rows are those of dense ones."""

import numpy as np
import pytest
import torch

from xmc.checks.brute_force import IndexSpace, found_shares, row_norms
from xmc.values import Hits


def some_vectors():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(20, 6, generator=generator), torch.randn(300, 6, generator=generator)


@pytest.mark.parametrize("scale", [(1.0, 1e-7), (1e-5, 1e-5), (1e4, 1.0), (1e6, 1e6)])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_shares_of_short_and_long_vectors(similarity, scale):
    queries_QE, labels_LE = some_vectors()
    unit = torch.nn.functional.normalize if similarity == "cosine" else torch.asarray
    order_QL = (unit(queries_QE).double() @ unit(labels_LE).double().T).argsort(dim=1, descending=True).numpy()
    rows_QK = np.concatenate((order_QL[:, :3], order_QL[:, 50:57]), axis=1)
    hits = Hits(np.arange(21) * 10, rows_QK.ravel(), np.zeros(200, np.float32))
    chunks = (labels_LE * scale[1]).split(110)
    (share_Q,) = found_shares(IndexSpace(queries_QE * scale[0], chunks, similarity), [(hits, 10)])
    assert share_Q.tolist() == [0.3] * 20


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_labels_that_float32_cannot_tell_apart_count_for_each_other(scale):
    queries_QE, labels_LE = some_vectors()
    labels_LE = scale * (labels_LE[:1] + 1e-7 * torch.randn(30, 6, generator=torch.Generator().manual_seed(4)))
    hits = Hits(np.arange(21) * 10, np.tile(np.arange(20, 30), 20), np.zeros(200, np.float32))
    (share_Q,) = found_shares(IndexSpace(queries_QE, [labels_LE], "dot"), [(hits, 10)])
    assert share_Q.tolist() == [1.0] * 20


def test_norms_of_sparse_rows():
    rows_NE = some_vectors()[0].relu()
    rows_NE[[0, 19]] = 0
    expected = rows_NE.double().square().sum(1).sqrt().numpy()
    for given in (rows_NE, rows_NE.to_sparse_csr()):
        np.testing.assert_allclose(row_norms(given), expected, rtol=1e-12)
