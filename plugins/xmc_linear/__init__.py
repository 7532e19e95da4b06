"""Linear one-vs-rest models over sparse word features: by themselves, or as the second stage of another model."""

from __future__ import annotations

from xmc.api import HeadSpec, RecipeSpec, RerankerSpec, hookimpl

PARABEL = "Prabhu et al.: Parabel, WWW 2018"
DISMEC = "Babbar, Schölkopf: DiSMEC, WSDM 2017"


@hookimpl
def xmc_heads() -> list[HeadSpec]:
    """Heads over the encoder `sparse-tfidf` and the index `sparse`."""
    return [
        HeadSpec(
            "one-vs-rest",
            "xmc_linear.head:LinearHead",
            summary="a linear classifier for each label, negatives from label clusters and mining, pruned weights",
            reference=DISMEC,
        ),
        HeadSpec(
            "centroids",
            "xmc_linear.head:Centroids",
            summary="a label is the mean of its training queries; made in seconds, for a reranker to build on",
            reference=PARABEL,
        ),
    ]


@hookimpl
def xmc_rerankers() -> list[RerankerSpec]:
    """The second stage."""
    return [
        RerankerSpec(
            "one-vs-rest",
            "xmc_linear.reranker:LinearReranker",
            summary="a linear classifier for each label, fitted to the queries whose shortlist it is on",
            reference=PARABEL,
        )
    ]


@hookimpl
def xmc_recipes() -> list[RecipeSpec]:
    """`--plugin linear`: words alone; `--plugin linear.fused`, `linear.fused-short`: both a dual encoder and it."""
    return [
        RecipeSpec(
            "linear",
            "xmc_linear:recipe.toml",
            summary="long texts, linear model over words: centroids propose, one-vs-rest decides",
            reference=PARABEL,
        ),
        RecipeSpec(
            "fused",
            "xmc_linear:fused.toml",
            summary="long texts, the best figures: dual encoder proposes, linear model adds its score",
            reference="Gupta et al., ICLR 2024; " + PARABEL,
        ),
        RecipeSpec(
            "fused-short",
            "xmc_linear:fused_short.toml",
            summary="short texts, some labels often seen: `dexml`, then a linear model for each of these",
            reference="Gupta et al., ICLR 2024; " + PARABEL,
        ),
    ]
