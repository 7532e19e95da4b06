"""Invariants: sparse vectors are measured as the same ones written densely; a hit that is not among the best k counts
as missed; labels are walked chunk by chunk."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from xmc.checks.brute_force import IndexSpace, found_shares
from xmc.encode.csr import csr_tensor
from xmc.values import Hits


def some_rows(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(rows, 9, generator=generator)
    return values * (torch.rand(rows, 9, generator=generator) < 0.4)


def in_csr(rows_RE):
    found = csr_matrix(rows_RE.numpy())
    parts = (torch.from_numpy(part) for part in (found.indptr, found.indices, found.data))
    return csr_tensor(*parts, found.shape)


def space_of(queries_QE, labels_LE, similarity, *, sparse):
    chunks = [labels_LE[:4], labels_LE[4:]]
    if sparse:
        queries_QE, *chunks = (in_csr(rows_RE) for rows_RE in (queries_QE, *chunks))
    return IndexSpace(queries_QE, chunks, similarity)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("similarity", "scale"), [("dot", 1.0), ("cosine", 1.0), ("cosine", 1e-20)])
def test_shares_are_those_of_all_scores(similarity, scale, sparse):
    queries_QE, labels_LE = some_rows(6, 0), some_rows(11, 1) * scale
    space = space_of(queries_QE, labels_LE, similarity, sparse=sparse)
    left, right = queries_QE.double(), labels_LE.double()
    if similarity == "cosine":
        left, right = (torch.nn.functional.normalize(each, dim=1, eps=1e-99) for each in (left, right))
    order_QL = (left @ right.T).argsort(dim=1, descending=True).numpy()
    right_QK, half_QK = order_QL[:, :2], np.stack((order_QL[:, 0], order_QL[:, -1]), axis=1)
    offsets = np.arange(7) * 2
    answers = [Hits(offsets, rows_QK.ravel(), np.zeros(12, np.float32)) for rows_QK in (right_QK, half_QK)]
    exact_Q, half_Q = found_shares(space, [(hits, 2) for hits in answers])
    assert exact_Q.tolist() == [1.0] * 6 and half_Q.tolist() == [0.5] * 6
