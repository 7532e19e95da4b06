"""Mann-Whitney loss: one score scale for all queries (Sheikholeslami et al., 2025), as a plugin of xmc."""

from __future__ import annotations

from xmc.api import LossSpec, RecipeSpec, hookimpl

REFERENCE = "Sheikholeslami et al., arXiv 2510.00137, 2025 (Mann-Whitney loss for dense retrieval)"


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """The Mann-Whitney loss."""
    return [
        LossSpec(
            "mann-whitney",
            "xmc_mw.mann_whitney:MannWhitney",
            summary="every positive of the batch against every negative of the batch, across queries",
            reference=REFERENCE,
            pool="batch",
        )
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin mw`: compares scores across queries as well as within them."""
    return [RecipeSpec("mw", "xmc_mw:recipe.toml", summary="short texts, across queries", reference=REFERENCE)]
