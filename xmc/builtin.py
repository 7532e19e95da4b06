"""The core's own offers (encoders), declared through the same door as everyone's."""

from __future__ import annotations

from xmc.api import EncoderSpec, hookimpl


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
