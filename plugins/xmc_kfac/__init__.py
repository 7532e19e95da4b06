"""K-FAC, steps along the natural gradient with a Kronecker-factored Fisher matrix, as a plugin of xmc."""

from __future__ import annotations

from xmc.api import OptimizerSpec, hookimpl

PAPER = "Martens, Grosse: Optimizing Neural Networks with Kronecker-factored Approximate Curvature, ICML 2015"


@hookimpl
def xmc_optimizers() -> list[OptimizerSpec]:
    """One optimiser, for linear, LSTM and embedding layers and for the label matrix of a classifier head."""
    return [
        OptimizerSpec(
            "kfac",
            "xmc_kfac.options:KFacOptions",
            summary="natural gradient of linear, LSTM and embedding layers and of a label matrix; AdamW for the rest",
            reference=PAPER,
        )
    ]
