"""Batches for the tests of the factored head, and the dense stochastic gradient descent that it has to equal."""

import numpy as np
import torch

from xmc.api import HeadBatch, HeadContext, LossInputs, Positives
from xmc_zloss.factored_head import FactoredHead
from xmc_zloss.sparse_mse import SparseMse
from xmc_zloss.spherical_softmax import SphericalSoftmax
from xmc_zloss.taylor_softmax import TaylorSoftmax
from xmc_zloss.z_loss import ZLoss

LOSSES = {
    ZLoss(0.3, 4.0): 0.2,
    TaylorSoftmax(0.5): 0.5,
    SphericalSoftmax(0.1): 0.2,
    SparseMse(): 0.01,
}  # with a learning rate for each


def random_batch(labels, queries, *, seed, most=4):
    """Ragged positives with weights; the first two queries have the same ones, the last has none."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, most + 1, size=queries)
    if queries > 2:
        counts[1] = counts[0]
    counts[-1] = 0
    rows = [np.sort(generator.choice(labels, size=count, replace=False)) for count in counts]
    if queries > 2:
        rows[1] = rows[0]
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    label_rows = np.concatenate(rows).astype(np.int32)
    weights = generator.uniform(0.5, 2.0, size=len(label_rows)).astype(np.float32)
    return HeadBatch(seed, np.arange(queries), Positives(offsets, label_rows, weights))


def build(matrix_LD, loss, *, learning_rate=0.1, weight_decay=0.0, stabilise_every=100):
    """A head whose label matrix starts as the given one."""
    from xmc_zloss.factored_matrix import FactoredMatrix

    options = FactoredHead(learning_rate, weight_decay=weight_decay, stabilise_every=stabilise_every)
    labels, dimension = matrix_LD.shape
    head = options.build(HeadContext(labels, dimension, "dot", loss=loss))
    head.kept = FactoredMatrix.from_dense(matrix_LD)
    return head


def multiplied_out(head):
    """W, (L, D) float64."""
    return head.matrix.rows(torch.arange(head.matrix.labels))


def dense_step(matrix_LD, queries_QD, positives, loss, *, learning_rate, weight_decay=0.0):
    """The same step by autograd over all scores and torch's SGD: new matrix, losses, gradient of the queries."""
    leaf_LD, leaf_QD = matrix_LD.clone().requires_grad_(), queries_QD.clone().requires_grad_()
    pairs = [torch.from_numpy(each) for each in (positives.query_rows(), positives.label_rows, positives.weights)]
    losses_Q = loss(LossInputs(leaf_QD @ leaf_LD.T, pairs[0], pairs[1].long(), pairs[2]))
    losses_Q.mean().backward()
    torch.optim.SGD([leaf_LD], lr=learning_rate, weight_decay=weight_decay).step()
    return leaf_LD.detach(), losses_Q.detach(), leaf_QD.grad
