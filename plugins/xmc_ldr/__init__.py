"""Label-distributionally robust losses (Zhu, Ying, Yang, ICML 2023), as a plugin of xmc."""

from __future__ import annotations

from xmc.api import LossSpec, RecipeSpec, hookimpl

REFERENCE = "Zhu, Ying, Yang: Label Distributionally Robust Losses for Multi-class Classification, ICML 2023"


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """LDR-KL, and ALDR-KL with a λ for each training query."""
    return [
        LossSpec(
            "ldr-kl",
            "xmc_ldr.ldr_kl:LdrKl",
            summary="softmax with a margin, from the hardest negative (lambda_ -> 0) to the mean (lambda_ -> infinity)",
            reference=REFERENCE,
        ),
        LossSpec(
            "aldr-kl",
            "xmc_ldr.aldr_kl:AldrKl",
            summary="ldr-kl that finds a lambda_ for each training query: lower where it is sure, for noisy labels",
            reference=REFERENCE,
        ),
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin ldr`: a margin between positives and negatives; `ldr.aldr`: and a temperature for each query."""
    return [
        RecipeSpec("ldr", "xmc_ldr:recipe.toml", summary="short texts, margin", reference=REFERENCE),
        RecipeSpec("aldr", "xmc_ldr:aldr.toml", summary="short texts, labels that may be wrong", reference=REFERENCE),
    ]
