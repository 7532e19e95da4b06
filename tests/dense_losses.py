"""A loss over dense scores and relevance, with its gradient."""

import torch

from xmc.api import LossInputs


def evaluate(loss, scores, relevance, of=torch.sum):
    """The loss of each query, and the gradient of their sum (or mean: `of`) in the scores; lists are float64."""
    dtype = None if isinstance(scores, torch.Tensor) else torch.float64
    leaf_QC = torch.as_tensor(scores, dtype=dtype).clone().requires_grad_()
    loss_Q = loss(LossInputs.from_dense(leaf_QC, torch.as_tensor(relevance, dtype=leaf_QC.dtype)))
    (gradient_QC,) = torch.autograd.grad(of(loss_Q), leaf_QC)
    return loss_Q.detach(), gradient_QC
