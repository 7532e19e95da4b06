"""Distillation: a small, fast student learns from a larger teacher's scores and label vectors, as a plugin of xmc."""

from __future__ import annotations

from xmc.api import LossSpec, RecipeSpec, hookimpl

NORM_DIRECTION = "Wang et al.: Improving Knowledge Distillation via Regularizing Feature Norm and Direction, 2023"
NORMALISED = "Yang et al.: From Knowledge Distillation to Self-Knowledge Distillation, ICCV 2023"


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """Two that need a teacher, and one that is its own."""
    return [
        LossSpec(
            "nd",
            "xmc_distill.norm_direction:NormDirection",
            summary="decoupled softmax, and each query pulled to the length and direction of its positives' vectors",
            reference=NORM_DIRECTION,
        ),
        LossSpec(
            "nkd",
            "xmc_distill.normalised_distillation:NormalisedDistillation",
            summary="decoupled softmax, and the teacher's scores of a shortlist: positives and the rest apart",
            reference=NORMALISED,
        ),
        LossSpec(
            "uskd",
            "xmc_distill.self_distillation:SelfDistillation",
            summary="decoupled softmax, and its own ranking as soft labels; no teacher",
            reference=NORMALISED,
            pool="batch",
        ),
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin distill --set teacher.path=TEACHER`: a static student of a teacher's vectors and scores."""
    return [
        RecipeSpec(
            "distill",
            "xmc_distill:recipe.toml",
            summary="a static student under a teacher's label vectors, which stay as they are",
            reference=NORMALISED,
        )
    ]
