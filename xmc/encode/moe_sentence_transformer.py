"""The `moe-sentence-transformers` encoder: a sentence-transformers folder with a mixture of experts on top."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.encode.encoder import Similarity
from xmc.encode.mixture import MixtureOfExperts, MixtureOptions
from xmc.encode.sentence_transformer import SentenceTransformerEncoder, SentenceTransformerOptions


@dataclass(frozen=True)
class MoeSentenceTransformerOptions(MixtureOptions, SentenceTransformerOptions):
    """Options of the `sentence-transformers` encoder, and of the mixture of experts on top of it.

    `experts`: linear maps there are. `kept`: those of them that a text goes through; with one its gate is always 1, so
    that who goes where is never learned. `balance`: weight of the term that asks for equal shares of the texts.
    `capacity`: in training, an expert takes at most so many times its equal share of a batch (0 = all).
    `rate`: the mixture learns at so many times the rate of the encoder below, whose rows or layers want other steps.
    `model`: a folder (or hub name). `similarity` normalises (`cosine`) or not (`dot`); empty asks the model itself.
    `max_tokens`: texts are cut there (0 = the model's own limit). `query_prompt`, `label_prompt`: put before each text.
    """

    rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        MixtureOptions.__post_init__(self)
        SentenceTransformerOptions.__post_init__(self)

    def build(
        self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int
    ) -> MoeSentenceTransformerEncoder:
        """The pretrained model under experts that are nearly the identity; the corpus does not matter.

        A normalisation of the model's own is left to the end, where `cosine` does it.
        """
        from sentence_transformers.sentence_transformer.modules import Normalize

        from xmc.encode.mixture_module import MixtureModule

        base = SentenceTransformerOptions.build(self, query_texts, label_texts, seed=seed)
        modules = [module for module in base.model if not isinstance(module, Normalize)]
        layer = MixtureOfExperts(base.dimension, self.mixture, seed=seed)
        return self._encoder([*modules, MixtureModule(layer)], base.similarity)

    def load(self, folder: Path) -> MoeSentenceTransformerEncoder:
        """The encoder that `MoeSentenceTransformerEncoder.save` wrote, opened without running code of the folder.

        Raises: ArtifactError when the folder holds a module that is not known.
        """
        from xmc.encode.mixture_module import open_modules

        about = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
        return self._encoder(open_modules(folder), about["similarity_fn_name"])

    def load_training(self, folder: Path) -> MoeSentenceTransformerEncoder:
        """The encoder that `MoeSentenceTransformerEncoder.save_training` wrote."""
        return self.load(folder)

    def _encoder(self, modules: list[Any], similarity: Similarity) -> MoeSentenceTransformerEncoder:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(modules=modules, similarity_fn_name=similarity, device="cpu")
        return MoeSentenceTransformerEncoder(model, self)


class MoeSentenceTransformerEncoder(SentenceTransformerEncoder):
    """A sentence-transformers model whose last layer is a mixture of experts."""

    name = "moe-sentence-transformers"
