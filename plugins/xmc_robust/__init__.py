"""Robust training: queries are learned with words replaced as an attacker may replace them, as a plugin of xmc."""

from __future__ import annotations

from xmc.api import AugmentationSpec, RecipeSpec, hookimpl

RANDOM = "Ye, Gong, Liu: SAFER: A structure-free approach for certified robustness, ACL 2020"
WORST = "Wu et al.: Certified Robustness to Word Substitution Ranking Attack for Neural Ranking Models, CIKM 2022"


@hookimpl
def xmc_augmentations() -> list[AugmentationSpec]:
    """Random substitutions, and those that the certificate of the encoder finds worst."""
    return [
        AugmentationSpec(
            "random",
            "xmc_robust.random_words:RandomWords",
            summary="each word of a query becomes a random substitute now and then; for any encoder",
            reference=RANDOM,
        ),
        AugmentationSpec(
            "worst-case",
            "xmc_robust.worst_case:WorstCase",
            summary="the substitutions that bring the strongest wrong label closest; for sums over words",
            reference=WORST,
        ),
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin robust`: short texts against the worst case; `robust.random`: against random substitutions."""
    return [
        RecipeSpec("robust", "xmc_robust:recipe.toml", summary="short texts, worst substitutions", reference=WORST),
        RecipeSpec("random", "xmc_robust:random.toml", summary="short texts, random substitutions", reference=RANDOM),
    ]
