"""The spherical family (Z-loss, Taylor and spherical softmax, squared error), as a plugin of xmc.

Of a query's scores these losses see only the sum, the sum of squares and the scores of the positives.
"""

from __future__ import annotations

from xmc.api import HeadSpec, LossSpec, RecipeSpec, hookimpl

Z_LOSS = "de Brébisson, Vincent: The Z-loss: a shift and scale invariant classification loss, 2016"
SOFTMAX = "de Brébisson, Vincent: An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family, 2016"
SPARSE = (
    "Vincent, de Brébisson, Bouthillier: Efficient Exact Gradient Update for training Deep Networks with Very Large "
    "Sparse Targets, NIPS 2015"
)


@hookimpl
def xmc_losses() -> list[LossSpec]:
    """The Z-loss and its relatives."""
    return [
        LossSpec(
            "z-loss",
            "xmc_zloss.z_loss:ZLoss",
            summary="softplus of the positive's z-score: indifferent to shift and scale of the scores",
            reference=Z_LOSS,
        ),
        LossSpec(
            "taylor-softmax",
            "xmc_zloss.taylor_softmax:TaylorSoftmax",
            summary="softmax with exp(o) replaced by 1 + o + o²/2",
            reference=SOFTMAX,
        ),
        LossSpec(
            "spherical-softmax",
            "xmc_zloss.spherical_softmax:SphericalSoftmax",
            summary="softmax with exp(o) replaced by o² + eps: blind to the sign of a score",
            reference=SOFTMAX,
        ),
        LossSpec(
            "sparse-mse",
            "xmc_zloss.sparse_mse:SparseMse",
            summary="squared error to the relevance, 0 for the negatives",
            reference=SPARSE,
        ),
    ]


@hookimpl
def xmc_heads() -> list[HeadSpec]:
    """The classifier whose step does not get dearer with the number of labels."""
    return [
        HeadSpec(
            "factored",
            "xmc_zloss.factored_head:FactoredHead",
            summary="a trained vector for each label, at a cost per step independent of their number; losses of zloss",
            reference=SPARSE,
        )
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin zloss`: short texts; `--plugin zloss.factored`: a classifier over very many labels."""
    return [
        RecipeSpec("zloss", "xmc_zloss:recipe.toml", summary="short texts, Z-loss", reference=Z_LOSS),
        RecipeSpec(
            "factored",
            "xmc_zloss:factored.toml",
            summary="a vector for each of very many labels, Z-loss, steps independent of their number",
            reference=SPARSE,
        ),
    ]
