"""DEXML: dual encoders for extreme multi-label classification (Gupta et al., ICLR 2024), as a plugin of xmc."""

from __future__ import annotations

from xmc.api import LossSpec, RecipeSpec, hookimpl

REFERENCE = "Gupta et al.: Dual-Encoders for Extreme Multi-label Classification, ICLR 2024"


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """The decoupled softmax."""
    return [
        LossSpec(
            "decoupled-softmax",
            "xmc_dexml.decoupled_softmax:DecoupledSoftmax",
            summary="softmax in which the positives of a query do not compete with each other",
            reference=REFERENCE,
        )
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin dexml`: train over all labels with the decoupled softmax."""
    return [
        RecipeSpec("dexml", "xmc_dexml:recipe.toml", summary="decoupled softmax over all labels", reference=REFERENCE)
    ]
