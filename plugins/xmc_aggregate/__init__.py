"""Learning from aggregate responses (Javanmard et al., ICLR 2024): labels of bags of queries, as a plugin of xmc."""

from __future__ import annotations

from xmc.api import LossSpec, RecipeSpec, hookimpl

REFERENCE = "Javanmard et al., Learning from Aggregate Responses: Instance Level versus Bag Level Losses, ICLR 2024"


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """The interpolated loss over any base loss."""
    return [
        LossSpec(
            "interpolated",
            "xmc_aggregate.interpolated:Interpolated",
            summary="labels known for bags of queries only: bag-level, instance-level or between, over a base loss",
            reference=REFERENCE,
            pool="batch",
        )
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin aggregate`: trains on what `xmc privatise` releases, or on any data with a column `bag_id`."""
    return [
        RecipeSpec(
            "aggregate",
            "xmc_aggregate:recipe.toml",
            summary="bags of queries with one label together, such as `xmc privatise` releases",
            reference=REFERENCE,
        )
    ]
