"""The encoder of a run as an embedding model: lists of numbers for texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

from xmc.counted import counted
from xmc.encode.encoder import Role, embed_texts
from xmc.errors import ConfigError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.query_checks import check_texts
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.trained_model import load_model

if TYPE_CHECKING:
    from xmc.encode.encoder import Encoder


class RunEmbeddings:
    """The encoder of a run, or of an open retriever; it stays the one that it was when it was opened.

    Raises: ArtifactError when the folder is not a run, or is damaged.
    """

    def __init__(self, run: str | Path | Retriever) -> None:
        if isinstance(run, Retriever):
            self.encoder: Encoder = run.encoder
            self.run = run.opened.run if run.opened else None
        else:
            self.run = Path(run)
            self.encoder = load_model(self.run, plugins=load_plugins()).encoder

    def embed(self, texts: Sequence[str], role: Role) -> list[list[float]]:
        """The vectors of texts, of length 1 where the encoder compares by cosine.

        Raises: DataError for a text that is blank; ConfigError for an encoder whose vectors are sparse.
        """
        check_texts(texts, what="query" if role == "query" else "text")
        vectors_ND = embed_texts(self.encoder, texts, role)
        if vectors_ND.layout != torch.strided:
            raise ConfigError(
                f"the encoder '{self.encoder.name}' makes sparse vectors of "
                f"{counted(self.encoder.dimension, 'number')}, which "
                "do not go into lists.",
                hint="Search the run by text.",
            )
        vectors_ND = normalize(vectors_ND, dim=1) if self.encoder.similarity == "cosine" else vectors_ND
        vectors: list[list[float]] = vectors_ND.tolist()
        return vectors
