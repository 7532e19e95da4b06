"""The core's own offers (encoders, heads, an index, checks, ...), declared through the same door as everyone's."""

from __future__ import annotations

from xmc.api import AugmentationSpec, CheckSpec, EncoderSpec, HeadSpec, IndexSpec, OptimizerSpec, RerankerSpec, hookimpl

MIXTURE = "Nguyen, Akbarian, Yan, Ho: Statistical Perspective of Top-K Sparse Softmax Gating Mixture of Experts, 2023"


@hookimpl
def xmc_encoders() -> list[EncoderSpec]:
    """The embedded encoders."""
    return [
        EncoderSpec(
            "static", "xmc.encode.static:StaticOptions", summary="mean of trained token vectors; CPU, no download"
        ),
        EncoderSpec(
            "tfidf",
            "xmc.encode.tfidf:TfidfOptions",
            summary="TF-IDF weighted sums of word vectors; for long texts, CPU",
        ),
        EncoderSpec(
            "sparse-tfidf",
            "xmc.encode.sparse_tfidf:SparseTfidfOptions",
            summary="TF-IDF vectors themselves, sparse; for linear models over words",
        ),
        EncoderSpec(
            "lstm",
            "xmc.encode.lstm:LstmOptions",
            summary="trained token vectors read in order by an LSTM; short texts, no download",
        ),
        EncoderSpec(
            "sentence-transformers",
            "xmc.encode.sentence_transformer:SentenceTransformerOptions",
            summary="any sentence-transformers folder",
        ),
        EncoderSpec(
            "moe-static",
            "xmc.encode.moe_static:MoeStaticOptions",
            summary="`static` under a mixture of experts: many linear maps, a few of them for each text",
            reference=MIXTURE,
        ),
        EncoderSpec(
            "moe-sentence-transformers",
            "xmc.encode.moe_sentence_transformer:MoeSentenceTransformerOptions",
            summary="any sentence-transformers folder under a mixture of experts",
            reference=MIXTURE,
        ),
    ]


@hookimpl
def xmc_heads() -> list[HeadSpec]:
    """The embedded heads."""
    return [
        HeadSpec(
            "dual-encoder",
            "xmc.train.dual_encoder:DualEncoderOptions",
            summary="a label's vector is its embedded text; labels can be added without training",
        ),
        HeadSpec(
            "classifier",
            "xmc.train.classifier:ClassifierOptions",
            summary="a trained vector for each label, by itself or on top of its embedded text",
        ),
        HeadSpec(
            "frozen",
            "xmc.train.frozen_labels:FrozenLabelsOptions",
            summary="the label vectors of a teacher, which stay as they are; the queries' encoder learns",
        ),
    ]


@hookimpl
def xmc_indexes() -> list[IndexSpec]:
    """The embedded index: one that is made of others."""
    return [
        IndexSpec(
            "sharded",
            "xmc.retrieve.sharded:Sharded",
            summary="the labels cut into parts with an index each, on one machine or on many; answers are merged",
        )
    ]


@hookimpl
def xmc_checks() -> list[CheckSpec]:
    """The embedded checks."""
    return [
        CheckSpec(
            "calibrate",
            "xmc.checks.calibrate:Calibrate",
            summary="probabilities of hits, fitted and judged on held-out queries",
        ),
        CheckSpec(
            "certify",
            "xmc.checks.certify:Certify",
            summary="first k labels that no allowed substitution of words can change, proved and attacked",
            reference="Wu et al. 2022, Certified Robustness to Word Substitution Ranking Attack",
        ),
        CheckSpec(
            "conformal",
            "xmc.checks.conformal:Conformal",
            summary="label sets that miss at most a promised share of the positives",
            reference="Angelopoulos et al. 2024, Conformal risk control",
        ),
        CheckSpec(
            "exactness",
            "xmc.checks.exactness:Exactness",
            summary="answers that are the true top k, and those of which it is proven",
        ),
    ]


@hookimpl
def xmc_rerankers() -> list[RerankerSpec]:
    """The absence of one, by name, and the one that needs no training."""
    return [
        RerankerSpec("none", "xmc.retrieve.no_reranker:NoReranker", summary="no second stage"),
        RerankerSpec(
            "bm25",
            "xmc.retrieve.bm25:Bm25",
            summary="how well the words of a label's text are those of the query; for passages",
            reference="Robertson, Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond, 2009",
        ),
    ]


@hookimpl
def xmc_optimizers() -> list[OptimizerSpec]:
    """The embedded optimisers."""
    return [
        OptimizerSpec(
            "adamw",
            "xmc.train.core_optimizers:AdamW",
            summary="the default; second_moment_decay and weight_decay are those of [train]",
            reference="Loshchilov, Hutter: Decoupled Weight Decay Regularization, ICLR 2019",
        ),
        OptimizerSpec(
            "row-adagrad",
            "xmc.train.core_optimizers:RowAdagradOptions",
            summary="one number a table row; a step costs only the rows that the batch touches",
            reference="Duchi, Hazan, Singer: Adaptive Subgradient Methods, JMLR 2011",
        ),
        OptimizerSpec("sgd", "xmc.train.core_optimizers:Sgd", summary="plain descent, with momentum if wanted"),
        OptimizerSpec(
            "muon",
            "xmc.train.muon:Muon",
            summary="orthogonal steps for the matrices of layers, AdamW for tables and vectors",
            reference="Jordan et al.: Muon, an optimizer for hidden layers, 2024",
        ),
    ]


@hookimpl
def xmc_augmentations() -> list[AugmentationSpec]:
    """The absence of one, by name."""
    return [AugmentationSpec("none", "xmc.train.no_augmentation:NoAugmentation", summary="queries as they are")]
