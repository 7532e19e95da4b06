"""A classifier over any number of labels whose training step costs the same for a thousand labels and for a million.

Shapes: L labels, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from xmc.api import ConfigError, HeadContext, Loss, RowStateLoss, require_at_least, require_positive
from xmc_zloss.factored_labels import FactoredLabels
from xmc_zloss.factored_matrix import FactoredMatrix

MOMENTS = frozenset({"moments"})
OWN_LOSSES = "zloss.z-loss, zloss.taylor-softmax, zloss.spherical-softmax, zloss.sparse-mse"


@dataclass(frozen=True)
class FactoredHead:
    """A vector for each label, trained by exact plain SGD over all labels; the cost of a step does not depend on L.

    It works because the losses of the spherical family need of a query's L scores only their mean, their variance and
    those of the positives; a loss says so by `needs = frozenset({"moments"})`. Momentum, Adam or clipping would touch
    every label in every step, so plain SGD (with weight decay) is all there is. Its peak `learning_rate` is of another
    order than Adam's: the gradient is that of the batch's mean, and a label is among few of its queries; about the
    batch size / √D suits the Z-loss, below 1 the squared error. The settings of [train] are for the encoder.

    A score is the dot product; an encoder of similarity `cosine` gives queries of length 1, which is good for the
    numbers, and the labels' lengths count all the same. They start at random, with entries of standard deviation
    `start_scale` / √D.
    Every `stabilise_every` steps, and when it is urgent, what float32 would lose is put right (see `stabilisation`).

    Reference: Vincent, de Brébisson and Bouthillier, Efficient Exact Gradient Update for training Deep Networks with
    Very Large Sparse Targets, NIPS 2015; de Brébisson and Vincent, The Z-loss, 2016.
    Raises: ValueError for an option out of range, or another optimizer than sgd.
    """

    learning_rate: float = 10.0
    weight_decay: float = 0.0
    optimizer: str = "sgd"
    stabilise_every: int = 100
    start_scale: float = 1.0

    all_labels_at_no_cost: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate", "start_scale")
        require_at_least(0, self, "weight_decay")
        require_at_least(1, self, "stabilise_every")
        if self.optimizer != "sgd":
            raise ValueError(
                f"optimizer must be 'sgd': the factored head has no other, for momentum or Adam would touch every "
                f"label in every step, got {self.optimizer!r}"
            )

    def build(self, context: HeadContext) -> FactoredLabels:
        """A fresh head, or without `context.loss` one that waits for its state.

        Raises: ConfigError for a loss that needs the scores themselves, for labels that are sampled or mined, and for
        sampled positives.
        """
        if context.loss is None:
            return FactoredLabels(self, context)
        require_moments(context.loss)
        if not getattr(context.train, "scores_all_labels", True):
            raise ConfigError(
                f"head 'zloss.factored' learns from all labels, got [train] label_scope '{context.train.label_scope}'.",
                hint="Set label_scope = 'all': it costs nothing here.",
            )
        if getattr(context.train, "sampled_positives", 0):
            raise ConfigError(
                "head 'zloss.factored' learns from all positives of a query, got [train] sampled_positives "
                f"{context.train.sampled_positives}.",
                hint="Set sampled_positives = 0.",
            )
        generator = torch.Generator().manual_seed(context.seed)
        table_LD = torch.randn(context.labels, context.dimension, generator=generator)
        table_LD *= self.start_scale / math.sqrt(context.dimension)
        matrix = FactoredMatrix.from_dense(table_LD.to(context.device), copy=False)
        return FactoredLabels(self, context, matrix)


def require_moments(loss: Loss) -> None:
    """Raise the ConfigError of a loss that does not say that the moments of the scores are all it needs.

    So too of one that keeps a number for each query.
    """
    if getattr(loss, "needs", None) != MOMENTS:
        raise ConfigError(
            f"head 'zloss.factored' never computes the scores of all labels, and the loss {type(loss).__name__} needs "
            f"more than their mean and variance. It works with {OWN_LOSSES}.",
            hint="Choose one of these, or another head. (A loss of your own that calls `inputs.moments()` only may say "
            "so by `needs: ClassVar = frozenset({'moments'})`.)",
        )
    if isinstance(loss, RowStateLoss):
        raise ConfigError(
            f"head 'zloss.factored' keeps nothing of queries, and the loss {type(loss).__name__} keeps a number "
            "for each query.",
            hint="Choose the head 'dual-encoder' or 'classifier'.",
        )
