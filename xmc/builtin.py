"""The core's own offers (encoders and heads), declared through the same door as everyone's."""

from __future__ import annotations

from xmc.api import EncoderSpec, HeadSpec, hookimpl


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
            "sentence-transformers",
            "xmc.encode.sentence_transformer:SentenceTransformerOptions",
            summary="any sentence-transformers folder",
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
    ]
