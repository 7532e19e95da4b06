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
    """`--plugin dexml` for short texts, `--plugin dexml.documents` for long ones."""
    return [
        RecipeSpec("dexml", "xmc_dexml:recipe.toml", summary="short texts, all labels", reference=REFERENCE),
        RecipeSpec("documents", "xmc_dexml:documents.toml", summary="long texts, all labels", reference=REFERENCE),
    ]
