"""Baselines: the losses that the others are measured against, as a plugin of xmc."""

from __future__ import annotations

from xmc.api import LossSpec, hookimpl


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """InfoNCE and binary cross entropy."""
    return [
        LossSpec(
            "info-nce",
            "xmc_baselines.info_nce:InfoNce",
            summary="softmax cross entropy, averaged over the positives of a query",
            reference="van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018",
        ),
        LossSpec(
            "binary-cross-entropy",
            "xmc_baselines.binary_cross_entropy:BinaryCrossEntropy",
            summary="one-vs-all logistic loss over the scored labels",
        ),
    ]
