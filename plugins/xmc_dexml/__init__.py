"""DEXML: dual encoders for extreme multi-label classification (Gupta et al., ICLR 2024), as a plugin of xmc."""

from __future__ import annotations

from xmc.api import LossSpec, RecipeSpec, hookimpl

REFERENCE = "Gupta et al.: Dual-Encoders for Extreme Multi-label Classification, ICLR 2024"


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """The decoupled softmax and the soft top k."""
    return [
        LossSpec(
            "decoupled-softmax",
            "xmc_dexml.decoupled_softmax:DecoupledSoftmax",
            summary="softmax in which the positives of a query do not compete with each other",
            reference=REFERENCE,
        ),
        LossSpec(
            "soft-top-k",
            "xmc_dexml.soft_top_k:SoftTopK",
            summary="every positive among the k best labels, and no more than that",
            reference=REFERENCE,
        ),
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`dexml` for short texts, `.frequent` for labels seen often, `.documents`, `.passages` for long ones, others."""
    return [
        RecipeSpec("dexml", "xmc_dexml:recipe.toml", summary="short texts", reference=REFERENCE),
        RecipeSpec(
            "frequent", "xmc_dexml:frequent.toml", summary="short texts, labels seen often", reference=REFERENCE
        ),
        RecipeSpec(
            "passages", "xmc_dexml:passages.toml", summary="labels that are passages, BM25 beside", reference=REFERENCE
        ),
        RecipeSpec("soft-top-k", "xmc_dexml:soft_top_k.toml", summary="short texts, best five", reference=REFERENCE),
        RecipeSpec("documents", "xmc_dexml:documents.toml", summary="long texts", reference=REFERENCE),
        RecipeSpec(
            "pretrained", "xmc_dexml:pretrained.toml", summary="a pretrained encoder, fine-tuned", reference=REFERENCE
        ),
    ]
