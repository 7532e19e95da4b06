"""The folder of an encoder: modules that sentence-transformers opens, and a file that says whose they are and where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xmc.encode.encoder import Similarity
from xmc.errors import ArtifactError

DESCRIPTION_NAME = "xmc_encoder.json"


def save_modules(
    folder: Path, modules: Sequence[Any], *, similarity: Similarity, description: Mapping[str, Any]
) -> None:
    """Write the folder that `SentenceTransformer(folder)` opens, and what lets xmc open it without that import.

    `cosine` puts a normalisation behind the modules.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    modules = [*modules, Normalize()] if similarity == "cosine" else [*modules]
    model = SentenceTransformer(modules=modules, similarity_fn_name=similarity, device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    (folder / DESCRIPTION_NAME).write_text(json.dumps(description, indent=1), encoding="utf-8")


def read_description(folder: Path, encoder: str) -> dict[str, Any]:
    """What the encoder of this name wrote into its folder. Raises: ArtifactError when another one wrote it."""
    description: dict[str, Any] = json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))
    if description.get("encoder") != encoder:
        raise ArtifactError(f"{folder} holds the encoder '{description.get('encoder')}', expected '{encoder}'.")
    return description
